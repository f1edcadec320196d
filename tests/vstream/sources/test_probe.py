"""probe_source: what is there, in bounded time, and by name what is wrong."""

import time

import pytest
from rtsp_camera import RtspCamera, ScriptedRtspServer, free_port
from slow_web import evenly
from synthetic_video import lay_on_its_side, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, SourcePolicy, probe_source
from vstream.sources.address import SourceKind

CONFIG = SourceConfig(connect_timeout_s=4)


@pytest.mark.parametrize(("codec", "named"), [("libx264", "h264"), ("libx265", "hevc")])
def test_a_file(tmp_path, codec, named):
    path = write_video(tmp_path / "clip.mp4", 60, 20, codec=codec, key_frames=range(0, 60, 30))
    report = probe_source(str(path), CONFIG)
    assert (report.kind, report.transport, report.name) == (SourceKind.FILE, "file", str(path))
    assert (report.codec, report.width, report.height) == (named, 160, 96)
    assert report.fps == pytest.approx(20)
    assert report.keyframe_interval_s == pytest.approx(1.5)
    assert not report.has_camera_clock
    assert report.first_frame_ms > 0


def test_a_file_with_one_key_frame_a_clock_and_on_its_side(tmp_path):
    path = write_video(
        tmp_path / "clip.mp4", 9, 10, key_frames=(), creation_time="2026-01-02T03:04:05Z"
    )
    lay_on_its_side(path)
    report = probe_source(str(path), CONFIG)
    assert (report.width, report.height) == (96, 160)
    assert report.keyframe_interval_s is None
    assert report.has_camera_clock


def test_a_camera(tmp_path):
    video = write_video(tmp_path / "loop.mp4", 100, 20, key_frames=range(0, 100, 10))
    with RtspCamera(video) as camera:
        report = probe_source(camera.url.replace("://", "://admin:hunter2@"), CONFIG)
    assert (report.kind, report.transport, report.codec) == (SourceKind.RTSP, "tcp", "h264")
    assert (report.width, report.height) == (160, 96)
    assert report.fps == pytest.approx(20, rel=0.1)
    assert report.keyframe_interval_s == pytest.approx(0.5, abs=0.02)
    assert report.has_camera_clock
    assert "hunter2" not in repr(report)


def test_a_stream_over_http(tmp_path):
    content = write_video(tmp_path / "clip.ts", num_frames=30, fps=10).read_bytes()
    with evenly(content, seconds=1) as url:
        report = probe_source(f"{url}/live", CONFIG)
    assert (report.kind, report.transport) == (SourceKind.HTTP, "http")
    assert report.keyframe_interval_s == pytest.approx(1.0)
    assert not report.has_camera_clock
    assert "hunter2" not in report.name


def test_a_camera_with_rare_key_frames_is_not_watched_past_the_timeout(tmp_path):
    video = write_video(tmp_path / "loop.mp4", 400, 20, key_frames=())
    with RtspCamera(video) as camera:
        begun_at = time.monotonic()
        report = probe_source(camera.url, SourceConfig(connect_timeout_s=1.5))
        assert time.monotonic() - begun_at < 2.5
    assert report.keyframe_interval_s is None


@pytest.mark.parametrize("transport", ["tcp", "auto"])
def test_a_camera_that_says_nothing_is_given_up_in_time(transport):
    with ScriptedRtspServer("silent") as server:
        begun_at = time.monotonic()
        config = SourceConfig(connect_timeout_s=1.0, transport=transport)
        assert code_of(f"rtsp://127.0.0.1:{server.port}/live", config) == "STREAM_TIMEOUT"
        assert time.monotonic() - begun_at < 2


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [("wrong_password", "STREAM_AUTH_FAILED"), ("not_found", "STREAM_NOT_FOUND")],
)
def test_a_camera_that_refuses(behaviour, code):
    with ScriptedRtspServer(behaviour) as server:
        assert code_of(f"rtsp://a:hunter2@127.0.0.1:{server.port}/live", CONFIG) == code


def test_what_is_not_there(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    assert code_of(str(tmp_path / "none.mp4"), CONFIG) == "FILE_NOT_FOUND"
    assert code_of(str(tmp_path / "empty.mp4"), CONFIG) == "FILE_EMPTY"
    assert code_of(str(tmp_path / "text.mp4"), CONFIG) == "FILE_NOT_VIDEO"
    assert code_of("ftp://host/x", CONFIG) == "SOURCE_UNSUPPORTED"
    assert code_of(f"rtsp://127.0.0.1:{free_port()}/x", CONFIG) == "STREAM_CONNECTION_FAILED"
    assert code_of("webcam:77", CONFIG) in ("STREAM_NOT_FOUND", "STREAM_CONNECTION_FAILED")


def test_what_may_not_be_named_is_not_touched():
    with ScriptedRtspServer("wrong_password") as server:
        url = f"rtsp://a:b@127.0.0.1:{server.port}/live"
        with pytest.raises(SourceError) as caught:
            probe_source(url, CONFIG, SourcePolicy().check)
        assert caught.value.code == "SOURCE_FORBIDDEN"
        assert server.passwords_seen == []


def code_of(url, config):
    with pytest.raises(SourceError) as caught:
        probe_source(url, config)
    assert "hunter2" not in str(caught.value)
    return caught.value.code
