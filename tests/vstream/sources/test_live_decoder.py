"""Key frames alone, where they are enough: the same samples as from all frames, for less work."""

import threading
from itertools import islice

import av
import numpy as np
import pytest
from rtsp_camera import RtspCamera
from synthetic_video import number_in, write_video

from encoders import FrameSampler
from vstream.sources import SourceConfig, SourceCounts, SourceState, open_source
from vstream.sources.live_decoder import EARLY, LiveDecoder
from vstream.sources.video_track import VideoTrack

FPS = 20


def shown(path, decode, sample_fps, damage=()):
    """The numbers and times of all pictures, and the counts; `damage` lists packets to spoil."""
    counts = SourceCounts()
    pictures = []
    with av.open(str(path)) as container:
        track = VideoTrack(container, path.name, 40_000_000, "STREAM_NO_VIDEO", counts)
        decoder = LiveDecoder(track, decode, sample_fps)
        for index, packet in enumerate(container.demux(track.stream)):
            if index in damage:
                spoilt = av.Packet(b"\xff" * packet.size)
                spoilt.stream, spoilt.time_base = track.stream, packet.time_base
                spoilt.pts, spoilt.dts = packet.pts, packet.dts
                spoilt.is_keyframe = packet.is_keyframe
                packet = spoilt
            pictures += [
                (number_in(picture.to_ndarray(format="rgb24")), picture.time)
                for picture in decoder.pictures(packet)
            ]
    return pictures, counts


def sampled(pictures, sample_fps):
    sampler = FrameSampler(sample_fps)
    return [number for number, time_s in pictures if sampler.wants(time_s)]


def ticks(numbers, sample_fps):
    return [int((number / FPS + 1e-6) * sample_fps) for number in numbers]


@pytest.mark.parametrize(("codec", "b_frames"), [("libx264", 0), ("libx264", 2), ("libx265", 2)])
@pytest.mark.parametrize(("gop", "sample_fps"), [(10, 2.0), (20, 1.0), (5, 2.0), (20, 0.5)])
def test_where_key_frames_lie_on_the_ticks_the_samples_are_the_same(
    tmp_path, codec, b_frames, gop, sample_fps
):
    path = write_video(
        tmp_path / "a.mp4", 121, FPS, (96, 64), codec, b_frames, key_frames=range(0, 121, gop)
    )
    everything, all_counts = shown(path, "all", sample_fps)
    needed, counts = shown(path, "auto", sample_fps)
    assert [number for number, _ in everything] == list(range(121))
    assert sampled(needed, sample_fps) == sampled(everything, sample_fps)
    assert counts.frames_received + counts.frames_skipped >= 121 - 1
    assert counts.frames_received <= 2 * gop + 1 + (121 - 2 * gop) / gop + b_frames
    assert all_counts.frames_skipped == 0


@pytest.mark.parametrize("gop", [3, 7, 11, 13, 17, 19, 20])
def test_key_frames_beside_the_ticks_still_serve_every_tick(tmp_path, gop):
    path = write_video(tmp_path / "a.mp4", 161, FPS, (96, 64), key_frames=range(0, 161, gop))
    numbers = sampled(shown(path, "auto", 1.0)[0], 1.0)
    assert ticks(numbers, 1.0) == list(range(ticks(numbers, 1.0)[-1] + 1))
    assert len(numbers) >= 8
    assert all(number % FPS < gop for number in numbers)  # the first key frame after the tick


@pytest.mark.parametrize("b_frames", [0, 2])
def test_key_frames_that_become_rare_cost_no_sample(tmp_path, b_frames):
    key_frames = [*range(0, 80, 10), 140, *range(200, 260, 10)]
    path = write_video(
        tmp_path / "a.mp4", 260, FPS, (96, 64), b_frames=b_frames, key_frames=key_frames
    )
    pictures, counts = shown(path, "auto", 2.0)
    assert sampled(pictures, 2.0) == list(range(0, 260, 10))
    assert [number for number, _ in pictures] == sorted({number for number, _ in pictures})
    assert counts.frames_skipped > 50  # both before and after
    assert counts.frames_corrupt == 0


def test_key_frames_that_are_rarer_than_samples_leave_everything_decoded(tmp_path):
    path = write_video(tmp_path / "a.mp4", 100, FPS, (96, 64), key_frames=range(0, 100, 20))
    pictures, counts = shown(path, "auto", 2.0)
    assert len(pictures) == 100
    assert counts.frames_skipped == 0


def test_a_rate_that_is_not_known_needs_every_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", 60, FPS, (96, 64), key_frames=range(0, 60, 5))
    assert len(shown(path, "auto", None)[0]) == 60


@pytest.mark.parametrize("b_frames", [0, 2])
def test_asked_for_key_frames_nothing_else_comes(tmp_path, b_frames):
    path = write_video(
        tmp_path / "a.mp4", 100, FPS, (96, 64), b_frames=b_frames, key_frames=range(0, 100, 25)
    )
    pictures, counts = shown(path, "keyframes", 1.0)
    assert pictures == [(number, pytest.approx(number / FPS)) for number in (0, 25, 50, 75)]
    assert (counts.frames_received, counts.frames_skipped) == (4, 96)


def test_key_frames_that_jitter_around_the_ticks_serve_every_one():
    sampler = FrameSampler(1.0, early=EARLY)
    jitter_s = np.random.default_rng(0).uniform(-0.04, 0.04, 1000)
    assert all(sampler.wants(max(0.0, tick + jitter_s[tick])) for tick in range(1000))


def test_a_damaged_key_frame_costs_its_pictures_and_no_others(tmp_path):
    path = write_video(tmp_path / "a.mp4", 200, FPS, (96, 64), key_frames=range(0, 200, 10))
    pictures, counts = shown(path, "auto", 2.0, damage={60})
    numbers = sampled(pictures, 2.0)
    assert set(range(0, 200, 10)) - set(numbers) <= {60}
    assert counts.frames_corrupt >= 1
    assert counts.frames_skipped > 50


def test_a_stream_without_true_key_frames_is_decoded_whole_in_the_end(tmp_path):
    path = write_video(
        tmp_path / "a.mp4",
        400,
        FPS,
        (96, 64),
        options={"x264-params": "intra-refresh=1:keyint=10", "bf": "0"},
    )
    everything, _ = shown(path, "all", 1.0)
    needed, _ = shown(path, "auto", 1.0)
    assert set(needed) <= set(everything)
    assert len(sampled(needed, 1.0)) >= 0.8 * len(sampled(everything, 1.0))


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    path = write_video(folder / "loop.mp4", 400, FPS, key_frames=range(0, 400, 10))
    with RtspCamera(path) as running:
        yield running


class CameraTicks:
    """Wants the frames at the ticks of the camera's own clock, which its first frame lacks."""

    def __init__(self, sample_fps):
        self._sampler = FrameSampler(sample_fps, early=EARLY)
        self._num_asked = 0
        self._ahead_s = 0.0

    def __call__(self, stream_s):
        self._num_asked += 1
        if self._num_asked == 2:
            self._ahead_s = 1 / FPS - stream_s
        return self._sampler.wants(stream_s + self._ahead_s)


def watch(url, decode, *, sample_fps, num_frames, **settings):
    """So many frames, the status after them, and all states that were seen in between."""
    config = SourceConfig(decode=decode, queue_frames=64, **settings)
    wants, states, enough = CameraTicks(sample_fps), set(), threading.Event()

    def look(source):
        while not enough.wait(0.01):
            states.add(source.status.state)

    with open_source(url, config, wants=wants, sample_fps=sample_fps) as source:
        frames = list(islice(source, 1))
        looking = threading.Thread(target=look, args=(source,))
        looking.start()
        frames += islice(source, num_frames - 1)
        enough.set()
        looking.join()
        return frames, source.status, states


def test_from_a_camera_auto_brings_the_same_pictures_and_decodes_fewer(camera):
    needed, auto, _ = watch(camera.url, "auto", sample_fps=2.0, num_frames=7)
    everything, whole, _ = watch(camera.url, "all", sample_fps=2.0, num_frames=7)
    assert [number_in(f.pixels) for f in needed] == [number_in(f.pixels) for f in everything]
    for a, b in zip(needed, everything, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
    assert auto.counts.frames_received < 0.7 * whole.counts.frames_received
    assert auto.counts.frames_skipped > 20


def test_a_camera_watched_by_its_key_frames_is_not_stalled_between_them(tmp_path):
    """Two seconds pass from one to the next."""
    video = write_video(tmp_path / "a.mp4", 200, FPS, (96, 64), key_frames=range(0, 200, 2 * FPS))
    with RtspCamera(video) as camera:
        frames, status, states = watch(
            camera.url,
            "keyframes",
            sample_fps=20.0,
            num_frames=3,
            stall_s=1.2,
            read_timeout_s=1.6,
        )
    assert all(number_in(frame.pixels) % (2 * FPS) == 0 for frame in frames)
    assert states == {SourceState.RUNNING}
    assert status.counts.reconnects == 0
