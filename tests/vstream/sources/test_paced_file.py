"""A file played in real time: at its own speed, newest frame first to a slow reader."""

import threading
import time

import pytest
from synthetic_video import number_in, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, open_source

CONFIG = SourceConfig(queue_frames=1)


def play(path, **options):
    return open_source(str(path), CONFIG, real_time=True, **options)


def test_a_file_plays_at_its_own_speed(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=20, fps=20)
    begun_at = time.monotonic()
    with play(path) as source:
        frames = list(source)
    assert time.monotonic() - begun_at == pytest.approx(0.95, abs=0.3)
    assert [number_in(frame.pixels) for frame in frames] == list(range(20))
    assert source.is_live


def test_a_resumed_file_plays_at_once_from_there(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=60, fps=20)
    begun_at = time.monotonic()
    with play(path, start_s=2.8) as source:
        assert [number_in(frame.pixels) for frame in source] == [56, 57, 58, 59]
    assert time.monotonic() - begun_at < 1.5


def test_a_slow_reader_gets_the_newest_frame_and_the_others_are_counted(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=20, fps=20)
    seen = []
    with play(path) as source:
        for frame in source:
            seen.append(number_in(frame.pixels))
            time.sleep(0.25)
    counts = source.status.counts
    assert seen == sorted(seen)
    assert seen[-1] == 19
    assert 3 <= len(seen) <= 8
    assert counts.frames_stale == 20 - len(seen)
    assert counts.frames_delivered == len(seen)


def test_closing_ends_the_play_and_its_thread(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=200)
    threads = threading.active_count()
    with play(path) as source:
        next(iter(source))
        begun_at = time.monotonic()
    assert time.monotonic() - begun_at < 0.5
    assert threading.active_count() == threads


def test_a_file_that_breaks_off_reports_to_the_reader(tmp_path):
    whole = write_video(tmp_path / "whole.ts", num_frames=3).read_bytes()
    (tmp_path / "none.ts").write_bytes(whole[: 188 * 3])
    with pytest.raises(SourceError, match="no frame"), play(tmp_path / "none.ts") as source:
        list(source)
