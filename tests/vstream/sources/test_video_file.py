"""VideoFile: the frame on screen at any moment, the same by decord and by PyAV."""

import importlib.util

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_video import lay_on_its_side, number_in, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, VideoFile

needs_decord = pytest.mark.skipif(
    importlib.util.find_spec("decord") is None, reason="decord has no wheel for this machine"
)
DECODERS = [pytest.param("decord", marks=needs_decord), "pyav"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return write_video(folder / "clip.mp4", num_frames=40, b_frames=2)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_frame_on_screen_at_each_moment_is_found(clip, decoder):
    with VideoFile(str(clip), decoder=decoder) as video:
        frames = video.frames_at([0.0, 0.09, 0.1, 3.25, 1.0, 1.0, 99.0, -1.0])
        assert [number_in(frame.pixels) for frame in frames] == [0, 0, 1, 32, 10, 10, 39, 0]
        assert frames[3].stream_s == pytest.approx(3.2)
        assert frames[3].captured_at - frames[0].captured_at == pytest.approx(3.2)
        assert video.duration_s == pytest.approx(4.0)


@needs_decord
@settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors])
@given(moments_s=st.lists(st.floats(0, 4.2), min_size=1, max_size=8))
def test_decord_and_pyav_agree(clip, moments_s):
    config = SourceConfig(max_side=96)
    with (
        VideoFile(str(clip), config, decoder="decord") as by_decord,
        VideoFile(str(clip), config, decoder="pyav") as by_pyav,
    ):
        pairs = zip(by_decord.frames_at(moments_s), by_pyav.frames_at(moments_s), strict=True)
        for one, other in pairs:
            assert number_in(one.pixels) == number_in(other.pixels)
            assert one.stream_s == other.stream_s
            difference = np.abs(one.pixels.astype(int) - other.pixels)
            assert difference.mean() < 4  # they scale with different filters


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_other_containers_are_searched_as_well(tmp_path, suffix, decoder):
    path = write_video(tmp_path / f"clip{suffix}", num_frames=30)
    with VideoFile(str(path), decoder=decoder) as video:
        frames = video.frames_at([2.5, 0.4, 1.0, 2.9])
    assert [number_in(frame.pixels) for frame in frames] == [25, 4, 10, 29]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_picture_lying_on_its_side_is_turned_and_scaled(tmp_path, decoder):
    path = write_video(tmp_path / "clip.mp4", num_frames=3)
    lay_on_its_side(path)
    with VideoFile(str(path), SourceConfig(max_side=80), decoder=decoder) as video:
        pixels = video.frames_at([0.2])[0].pixels
    assert pixels.shape == (80, 48, 3)
    assert number_in(pixels[:, ::-1].transpose(1, 0, 2)) == 2


def test_a_camera_has_no_past_to_look_up():
    with pytest.raises(SourceError, match="give a file"):
        VideoFile("rtsp://host/stream")


def test_a_missing_file_is_reported_by_name():
    with pytest.raises(SourceError, match=r"missing\.mp4") as caught:
        VideoFile("missing.mp4")
    assert caught.value.code == "FILE_NOT_FOUND"
