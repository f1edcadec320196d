"""source.max_pixels: larger pictures are refused before they are decoded, whatever holds them."""

import importlib.util
import subprocess
import sys

import pytest
from gif_bomb import gif_bomb
from rtsp_camera import RtspCamera
from slow_web import evenly
from synthetic_video import write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, VideoFile, open_source, probe_source

LIMITED = SourceConfig(max_pixels=10_000, connect_timeout_s=20, retry_min_s=0.1)
"""Less than the 160 x 96 of the tests' videos."""
KINDS = [
    *[("clip.mp4", "libx264"), ("clip.ts", "libx264"), ("clip.h264", "libx264")],
    *[("clip.mp4", "mpeg4"), ("clip.mpg", "mpeg2video"), ("clip.mkv", "mjpeg")],
    *[("clip.webm", "libvpx"), ("clip.webm", "libvpx-vp9"), ("clip.mkv", "libsvtav1")],
]
READ = """
import resource, sys
from vstream.errors import SourceError
from vstream.sources import SourceConfig, open_source
peak_kb = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak_kb()
try:
    with open_source(sys.argv[1], SourceConfig()) as source:
        for frame in source:
            pass
except SourceError as error:
    print(error.code, (peak_kb() - before) // 1024)
"""


def refused(read):
    """What it said. `read` opens and reads a source of pictures that are too large."""
    with pytest.raises(SourceError) as caught:
        read()
    assert caught.value.code == "SOURCE_TOO_LARGE", caught.value
    assert "source.max_pixels" in str(caught.value)
    return str(caught.value)


def every_frame(url, config=LIMITED):
    with open_source(str(url), config) as source:
        return list(source)


def first_frame(url):
    with open_source(url, LIMITED) as source:
        return next(iter(source))


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_a_file_is_refused_whatever_it_is(tmp_path, name, codec):
    video = write_video(tmp_path / name, num_frames=5, codec=codec)
    assert len(every_frame(video, SourceConfig(max_pixels=100_000))) == 5
    assert name in refused(lambda: every_frame(video))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mpeg4"])
def test_the_bound_holds_where_the_size_changes_midway(tmp_path, codec):
    small = write_video(tmp_path / "small.ts", num_frames=20, codec=codec, size=(96, 64))
    large = write_video(tmp_path / "large.ts", num_frames=20, codec=codec)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames = []
    with open_source(str(both), LIMITED) as source:
        refused(lambda: frames.extend(source))
    assert {frame.pixels.shape for frame in frames} <= {(64, 96, 3)}


def test_a_camera_is_refused_at_its_first_connection(tmp_path):
    with RtspCamera(write_video(tmp_path / "loop.mp4", num_frames=20)) as camera:
        refused(lambda: first_frame(camera.url))
        refused(lambda: probe_source(camera.url, LIMITED))


@pytest.mark.parametrize("path", ["clip.mkv", "live"])
def test_what_a_web_server_sends_is_refused(tmp_path, path):
    content = write_video(tmp_path / "clip.mkv", num_frames=20, codec="mjpeg").read_bytes()
    with evenly(content, seconds=0) as url:
        refused(lambda: first_frame(f"{url}/{path}"))


@pytest.mark.parametrize(
    "decoder",
    [
        "pyav",
        pytest.param(
            "decord",
            marks=pytest.mark.skipif(not importlib.util.find_spec("decord"), reason="no decord"),
        ),
    ],
)
def test_a_file_that_is_searched_is_refused(tmp_path, decoder):
    video = write_video(tmp_path / "clip.mp4", num_frames=5)
    refused(lambda: VideoFile(str(video), LIMITED, decoder=decoder))


def test_a_file_that_is_probed_is_refused(tmp_path):
    video = write_video(tmp_path / "clip.mkv", num_frames=5, codec="mjpeg")
    refused(lambda: probe_source(str(video), LIMITED))


def test_a_file_of_few_bytes_takes_no_memory_for_its_picture(tmp_path):
    bomb = tmp_path / "bomb.gif"
    bomb.write_bytes(gif_bomb(16_000))  # 1 GB as pixels
    assert bomb.stat().st_size < 200_000
    read = subprocess.run(
        [sys.executable, "-c", READ, bomb], capture_output=True, text=True, timeout=60, check=True
    )
    code, grown_mb = read.stdout.split()
    assert code == "SOURCE_TOO_LARGE"
    assert int(grown_mb) < 100


def test_what_no_decoder_says_the_size_of_is_refused_by_the_name_of_the_setting(tmp_path):
    video = write_video(tmp_path / "clip.mkv", num_frames=5, codec="ffv1")
    with pytest.raises(SourceError, match=r"source\.max_pixels") as caught:
        every_frame(video)
    assert caught.value.code == "FILE_EMPTY"
