"""A file as a source: lossless, in media time, resumable, and clear about what is wrong with it."""

import os
import threading
import time
from itertools import islice, pairwise

import av
import numpy as np
import psutil
import pytest
from processes import until
from synthetic_video import lay_on_its_side, number_in, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, SourceState, open_source
from vstream.sources.file_stream import AHEAD

CONFIG = SourceConfig()


def numbers(source):
    return [number_in(frame.pixels) for frame in source]


@pytest.mark.parametrize(
    ("suffix", "b_frames"), [(".mp4", 0), (".mp4", 2), (".mkv", 2), (".ts", 0)]
)
def test_every_frame_comes_once_and_in_order(tmp_path, suffix, b_frames):
    path = write_video(tmp_path / f"clip{suffix}", num_frames=35, b_frames=b_frames)
    with open_source(str(path), CONFIG) as source:
        frames = list(source)
    assert [number_in(frame.pixels) for frame in frames] == list(range(35))
    assert [frame.stream_s for frame in frames] == pytest.approx([i / 10 for i in range(35)])
    assert source.status.counts.frames_received == 35
    assert source.status.counts.frames_delivered == 35
    assert source.status.state is SourceState.ENDED
    assert not source.is_live


def test_it_is_decoded_a_little_ahead_and_no_further(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=4 * AHEAD)
    with open_source(str(path), CONFIG) as source:
        frames = iter(source)
        first = number_in(next(frames).pixels)
        until(lambda: source.status.counts.frames_received >= 1 + AHEAD)
        time.sleep(0.2)
        assert source.status.counts.frames_received <= 1 + AHEAD + 1  # one waits to be laid down
        assert [first, *numbers(frames)] == list(range(4 * AHEAD))


def test_whoever_leaves_early_leaves_no_thread_behind(tmp_path):
    path = write_video(tmp_path / "left early.mp4", num_frames=4 * AHEAD)
    with open_source(str(path), CONFIG) as source:
        next(iter(source))
        assert [one.name for one in threading.enumerate()].count(f"read {source.name}") == 1
    assert f"read {source.name}" not in [one.name for one in threading.enumerate()]


def test_only_wanted_frames_are_delivered_and_the_others_counted(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=30)
    with open_source(str(path), CONFIG, wants=lambda stream_s: stream_s >= 2.45) as source:
        assert numbers(source) == [25, 26, 27, 28, 29]
    assert source.status.counts.frames_not_wanted == 25


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("start_s", [0.0, 0.5, 1.0, 2.2])
def test_a_resumed_file_goes_on_exactly_where_it_was_left(tmp_path, suffix, start_s):
    path = write_video(tmp_path / f"clip{suffix}", num_frames=30)
    with open_source(str(path), CONFIG) as source:
        whole = [(f.stream_s, number_in(f.pixels)) for f in source]
    with open_source(str(path), CONFIG, start_s=start_s) as source:
        rest = [(f.stream_s, number_in(f.pixels)) for f in source]
    assert rest == [(stream_s, number) for stream_s, number in whole if stream_s >= start_s - 1e-6]


def test_a_start_past_the_end_gives_no_frame_and_no_error(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=10)
    with open_source(str(path), CONFIG, start_s=99.0) as source:
        assert numbers(source) == []


@pytest.mark.parametrize(
    ("suffix", "b_frames"), [(".mp4", 0), (".mp4", 2), (".mkv", 2), (".ts", 0)]
)
def test_a_loop_is_the_file_over_and_over_in_a_time_that_goes_on(tmp_path, suffix, b_frames):
    path = write_video(tmp_path / f"clip{suffix}", num_frames=25, b_frames=b_frames)
    with open_source(str(path), CONFIG, loop=True) as source:
        frames = list(islice(source, 75))
    assert [number_in(frame.pixels) for frame in frames] == [*range(25)] * 3
    assert [frame.stream_s for frame in frames] == pytest.approx([i / 10 for i in range(75)])
    assert all(a.stream_s < b.stream_s for a, b in pairwise(frames))
    assert all(a.captured_at < b.captured_at for a, b in pairwise(frames))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("start_s", [0.0, 1.3, 2.5, 6.2])
def test_a_resumed_loop_goes_on_exactly_where_it_was_left(tmp_path, suffix, start_s):
    path = write_video(tmp_path / f"clip{suffix}", num_frames=25)
    with open_source(str(path), CONFIG, loop=True) as source:
        whole = [(f.stream_s, number_in(f.pixels)) for f in islice(source, 100)]
    with open_source(str(path), CONFIG, loop=True, start_s=start_s) as source:
        rest = [(f.stream_s, number_in(f.pixels)) for f in islice(source, 30)]
    wanted = [(at_s, number) for at_s, number in whole if at_s >= start_s - 1e-6][:30]
    assert [number for _, number in rest] == [number for _, number in wanted]
    assert [at_s for at_s, _ in rest] == pytest.approx([at_s for at_s, _ in wanted])


def test_a_loop_ends_when_it_is_closed_though_no_frame_is_wanted(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=5)
    asked = threading.Event()

    def never(stream_s):
        if stream_s > 2:
            asked.set()
        return False

    source = open_source(str(path), CONFIG, loop=True, wants=never)
    reading = threading.Thread(target=lambda: list(source), daemon=True)
    reading.start()
    assert asked.wait(10)
    source.close()
    reading.join(10)
    assert not reading.is_alive()


def test_a_loop_of_a_broken_file_says_what_is_wrong(tmp_path):
    whole = write_video(tmp_path / "whole.ts", num_frames=3).read_bytes()
    (tmp_path / "none.ts").write_bytes(whole[: 188 * 3])
    with (
        pytest.raises(SourceError) as caught,
        open_source(str(tmp_path / "none.ts"), CONFIG, loop=True) as source,
    ):
        list(source)
    assert caught.value.code == "FILE_EMPTY"


def test_large_pictures_are_scaled_to_the_longest_side(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=3, size=(320, 180))
    with open_source(str(path), SourceConfig(max_side=160)) as source:
        frames = list(source)
    assert frames[0].pixels.shape == (90, 160, 3)
    assert [number_in(frame.pixels) for frame in frames] == [0, 1, 2]
    with open_source(str(path), SourceConfig(max_side=None)) as source:
        assert next(iter(source)).pixels.shape == (180, 320, 3)


def test_colours_are_red_green_blue(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=1)
    with open_source(str(path), CONFIG) as source:
        (frame,) = source
    assert frame.pixels[52:60, 4:12].mean(axis=(0, 1)) == pytest.approx([230, 200, 40], abs=12)


def test_a_picture_tagged_as_lying_on_its_side_is_turned_upright(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=1)
    with open_source(str(path), CONFIG) as source:
        (lying,) = source
    lay_on_its_side(path)
    with open_source(str(path), CONFIG) as source:
        (standing,) = source
    assert standing.pixels.shape == (160, 96, 3)
    assert (standing.pixels[:, ::-1].transpose(1, 0, 2) == lying.pixels).all()


def test_capture_time_counts_from_the_creation_tag(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=11, creation_time="2024-05-06T07:08:09Z")
    with open_source(str(path), CONFIG) as source:
        frames = list(source)
    assert frames[0].captured_at == 1714979289
    assert frames[10].captured_at == pytest.approx(1714979290)


@pytest.mark.parametrize("tag", [None, "1904-01-01T00:00:00Z"])
def test_capture_time_counts_from_the_files_own_time_without_a_good_tag(tmp_path, tag):
    path = write_video(tmp_path / "clip.mp4", num_frames=1, creation_time=tag)
    os.utime(path, (1e9, 1e9))
    with open_source(str(path), CONFIG) as source:
        (frame,) = source
    assert frame.captured_at == 1e9


def broken_files(folder):
    (folder / "text.mp4").write_text("this is a text file\n" * 50)
    (folder / "empty.mp4").touch()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        track = container.add_stream("aac", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        sound.rate = 8000
        container.mux(track.encode(sound))
        container.mux(track.encode())
    whole = write_video(folder / "whole.ts", num_frames=3).read_bytes()
    (folder / "no_frames.ts").write_bytes(whole[: 188 * 3])  # the tables, and no picture
    return folder


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.mp4", "FILE_NOT_FOUND"),
        ("text.mp4", "FILE_NOT_VIDEO"),
        ("sound.mp4", "FILE_NOT_VIDEO"),
        (".", "FILE_NOT_VIDEO"),
        ("empty.mp4", "FILE_EMPTY"),
        ("no_frames.ts", "FILE_EMPTY"),
    ],
)
def test_a_file_that_is_no_video_is_refused_by_name(tmp_path, name, code):
    path = broken_files(tmp_path) / name
    with pytest.raises(SourceError) as caught, open_source(str(path), CONFIG) as source:
        list(source)
    assert caught.value.code == code
    assert str(path) in str(caught.value)
    assert caught.value.__context__ is None


def test_damage_in_the_middle_costs_frames_that_are_counted_and_not_the_rest(tmp_path):
    path = write_video(tmp_path / "clip.ts", num_frames=50)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 188 * 188
    content[middle + 4 : middle + 184] = bytes(180)
    path.write_bytes(content)
    with open_source(str(path), CONFIG) as source:
        seen = numbers(source)
    assert seen[0] == 0
    assert seen[-1] == 49
    assert source.status.counts.frames_received + source.status.counts.frames_corrupt >= 49


@pytest.mark.parametrize("speed", ["max", 1.0])
def test_two_that_close_it_at_once_do_not_both_free_the_container(tmp_path, speed):
    path = write_video(tmp_path / "clip.mp4", num_frames=20)
    source = open_source(str(path), CONFIG, speed=speed)
    container, inside, most = source._container, [], []

    class Slow:
        def __getattr__(self, name):
            return getattr(container, name)

        def close(self):
            inside.append(1)
            time.sleep(0.05)
            most.append(len(inside))
            inside.pop()
            container.close()

    source._container = Slow()
    closers = [threading.Thread(target=source.close) for _ in range(4)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    assert most == [1] * 4


def test_closing_from_another_thread_ends_the_iteration_and_frees_the_file(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=200)
    source = open_source(str(path), CONFIG)
    frames = iter(source)
    next(frames)
    threading.Thread(target=source.close).start()
    rest = list(frames)
    source.close()
    assert len(rest) < 200
    assert str(path) not in [file.path for file in psutil.Process().open_files()]
