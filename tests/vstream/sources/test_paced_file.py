"""A file played in real time: at its own speed, newest frame first to a slow reader."""

import os
import threading
import time
from itertools import pairwise

import pytest
from slow_web import stalling
from synthetic_video import number_in, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, open_source

CONFIG = SourceConfig(queue_frames=1)
PATIENT = SourceConfig(queue_frames=64)
"""Nothing is dropped, however late this machine lets the reader run."""


def play(path, config=CONFIG, speed=1, **options):
    return open_source(str(path), config, speed=speed, **options)


def test_a_file_plays_at_its_own_speed(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=20, fps=20)
    begun_at = time.monotonic()
    with play(path, PATIENT) as source:
        frames = list(source)
    assert time.monotonic() - begun_at == pytest.approx(0.95, abs=0.3)
    assert [number_in(frame.pixels) for frame in frames] == list(range(20))
    assert source.is_live


def test_four_times_as_fast_four_times_as_many_frames_are_seen(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=40, fps=20)
    with play(path) as slow, play(path, PATIENT, speed=4) as fast:
        frames = list(fast)
        shown_meanwhile = number_in(next(iter(slow)).pixels)
    assert [number_in(frame.pixels) for frame in frames] == list(range(40))
    assert 5 <= shown_meanwhile <= 20


def test_what_plays_fast_is_not_dated_into_the_time_to_come(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=40, fps=20)
    os.utime(path)
    with play(path, PATIENT, speed=10) as source:
        for frame in source:
            assert frame.captured_at <= time.time()


def test_a_recording_is_as_old_as_it_is_however_fast_it_plays(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=20, fps=20)
    os.utime(path, (1e9, 1e9))
    with play(path, PATIENT, speed=20) as source:
        for frame in source:
            assert frame.captured_at == 1e9 + frame.stream_s


def test_a_loop_plays_on_and_its_frames_are_captured_when_they_are_shown(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=10, fps=20)
    os.utime(path, (1e9, 1e9))
    began_at, frames = time.time(), []
    with play(path, PATIENT, speed=4, loop=True) as source:
        for frame in source:
            assert time.time() - 1 < frame.captured_at <= time.time()
            frames.append(frame)
            if len(frames) == 25:
                break
    assert [number_in(frame.pixels) for frame in frames] == [n % 10 for n in range(25)]
    assert [frame.stream_s for frame in frames] == pytest.approx([n / 20 for n in range(25)])
    assert all(a.captured_at < b.captured_at for a, b in pairwise(frames))
    # As far from each other as they were shown, which is a quarter of what they are apart.
    assert 0.25 < frames[-1].captured_at - began_at < 1.2


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
    threads = set(threading.enumerate())
    with play(path) as source:
        next(iter(source))
        begun_at = time.monotonic()
    assert time.monotonic() - begun_at < 0.5
    assert not set(threading.enumerate()) - threads


def test_a_file_that_breaks_off_reports_to_the_reader(tmp_path):
    whole = write_video(tmp_path / "whole.ts", num_frames=3).read_bytes()
    (tmp_path / "none.ts").write_bytes(whole[: 188 * 3])
    with pytest.raises(SourceError, match="no frame"), play(tmp_path / "none.ts") as source:
        list(source)


def test_closing_is_prompt_while_the_server_of_a_file_stalls(tmp_path):
    content = write_video(tmp_path / "clip.ts", num_frames=400, fps=20).read_bytes()
    config = SourceConfig(queue_frames=1, read_timeout_s=20)
    with stalling(content, len(content) // 4) as url:
        source = open_source(f"{url}/clip.ts", config, speed=50)
        with source:
            next(iter(source))
            time.sleep(1.0)  # all that came has been played
            begun_at = time.monotonic()
        assert time.monotonic() - begun_at < 3
