"""A live source against a real RTSP server that dies, freezes, refuses and comes back."""

import gc
import io
import time
import traceback
from itertools import islice, pairwise

import psutil
import pytest
import structlog
from PIL import Image
from rtsp_camera import RtspCamera, ScriptedRtspServer, free_port
from slow_web import motion_jpeg
from synthetic_video import number_in, picture, write_video

from vstream.errors import SourceError
from vstream.sources import PrivacyMask, SourceConfig, SourceState, open_source

CONFIG = SourceConfig(
    connect_timeout_s=8,
    read_timeout_s=1,
    stall_s=0.4,
    retry_min_s=0.1,
    retry_max_s=0.3,
    queue_frames=2,
)
DEAD = ("STREAM_DISCONNECTED", "STREAM_CONNECTION_FAILED")
"""What is said of a camera that was killed: first that it left, then that it is not there."""
IMPATIENT = CONFIG.model_copy(update={"connect_timeout_s": 1.0})


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    write_video(folder / "short.mp4", num_frames=20, fps=20)
    with RtspCamera(write_video(folder / "loop.mp4", num_frames=100, fps=20)) as running:
        yield running


def wait_for(source, state, timeout_s=6.0):
    """The seconds that it took until the source was in this state."""
    begun_at = time.monotonic()
    while source.status.state is not state:
        assert time.monotonic() - begun_at < timeout_s, f"still {source.status.state}"
        time.sleep(0.02)
    return time.monotonic() - begun_at


def assert_rising(frames):
    times_s = [frame.stream_s for frame in frames]
    assert all(earlier < later for earlier, later in pairwise(times_s)), times_s


def frames_in_order(camera, count):
    """The first of them, the numbers that they show, and the source's status then."""
    with open_source(camera.url, CONFIG) as source:
        frames = list(islice(source, count))
        status = source.status
        assert source.is_live
    assert_rising(frames)
    shown = [number_in(frame.pixels) for frame in frames]
    assert shown == sorted(shown)
    assert status.state is SourceState.RUNNING
    assert status.counts.frames_delivered == count
    assert status.counts.frames_received >= count
    return frames, shown, status


def test_frames_arrive_in_order(camera):
    frames_in_order(camera, 10)


@pytest.mark.soak
def test_frames_arrive_at_the_cameras_pace(camera):
    frames, shown, status = frames_in_order(camera, 30)
    assert frames[-1].stream_s - frames[0].stream_s == pytest.approx(
        (shown[-1] - shown[0]) / 20, abs=0.1
    )
    assert abs(time.time() - frames[-1].captured_at) < 2
    assert status.last_frame_age_s < 1


def test_a_resumed_stream_counts_on_from_its_start_time(camera):
    with open_source(camera.url, CONFIG, start_s=1000.0) as source:
        frames = list(islice(source, 3))
    assert 1000 <= frames[0].stream_s < 1003
    assert_rising(frames)


def test_only_wanted_frames_reach_the_reader(camera):
    seen_s = []

    def wants(stream_s):
        seen_s.append(stream_s)
        return len(seen_s) % 10 == 0

    with open_source(camera.url, CONFIG, wants=wants) as source:
        frames = list(islice(source, 3))
        counts = source.status.counts
    assert [frame.stream_s for frame in frames] == seen_s[9:30:10]
    assert counts.frames_not_wanted >= 27


def test_no_frame_of_a_camera_leaves_unmasked(camera):
    mask = PrivacyMask(polygons=[[(0, 0), (1, 0), (1, 1), (0, 1)]])
    with open_source(camera.url, CONFIG, mask=mask) as source:
        assert not any(frame.pixels.any() for frame in islice(source, 3))


def test_a_slow_reader_gets_the_newest_frame_and_the_others_are_counted(camera):
    with open_source(camera.url, CONFIG) as source:
        frames = iter(source)
        next(frames)
        time.sleep(1.0)
        waiting = [next(frames), next(frames)]
        newest_age_s = time.time() - waiting[-1].captured_at
        counts = source.status.counts
    assert counts.frames_stale >= 10
    assert newest_age_s < 0.5
    assert_rising(waiting)


def test_a_camera_that_is_killed_and_comes_back_is_seen_again(camera):
    with open_source(camera.url, CONFIG) as source:
        before = list(islice(source, 10))
        camera.kill()
        wait_for(source, SourceState.RECONNECTING)
        assert source.status.last_error.code in DEAD
        camera.start()
        wait_for(source, SourceState.RUNNING)
        after = list(islice(source, 10))
        reconnects = source.status.counts.reconnects
    assert_rising(before + after)
    assert reconnects >= 1
    passed_s = after[-1].captured_at - before[-1].captured_at
    assert after[-1].stream_s - before[-1].stream_s == pytest.approx(passed_s, abs=1.0)


def test_a_frozen_camera_is_noticed_within_the_read_timeout_and_seen_again(camera):
    with open_source(camera.url, CONFIG) as source:
        before = list(islice(source, 10))
        camera.stop()
        try:
            wait_for(source, SourceState.STALLED, timeout_s=CONFIG.stall_s + 1)
            wait_for(source, SourceState.RECONNECTING, timeout_s=CONFIG.read_timeout_s + 1)
            assert source.status.last_error.code == "STREAM_TIMEOUT"
        finally:
            camera.cont()
        wait_for(source, SourceState.RUNNING)
        after = list(islice(source, 10))
    assert_rising(before + after)


def test_a_stream_that_ends_is_connected_anew(camera):
    once = camera.url.replace("loop.mp4?play_count=0", "short.mp4?play_count=1")
    with structlog.testing.capture_logs() as logged, open_source(once, CONFIG) as source:
        frames = []
        for frame in source:
            frames.append(frame)
            if source.status.counts.reconnects:
                break
        assert source.status.state is SourceState.RUNNING
        assert source.status.last_error is None  # it is over
    assert_rising(frames)
    assert [line["code"] for line in logged if line["event"] == "source lost"][:1] == [
        "STREAM_DISCONNECTED"
    ]


def test_a_dead_camera_is_logged_once_however_often_it_is_tried():
    url = f"rtsp://127.0.0.1:{free_port()}/live"
    with (
        structlog.testing.capture_logs() as logged,
        open_source(url, CONFIG, keep_trying=True) as source,
    ):
        deadline = time.monotonic() + 30
        while source.status.counts.reconnects < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert [line["event"] for line in logged].count("source lost") == 1


@pytest.mark.parametrize(
    ("behaviour", "code", "advice"),
    [
        ("wrong_password", "STREAM_AUTH_FAILED", "password"),
        ("not_found", "STREAM_NOT_FOUND", "path"),
    ],
)
def test_a_first_connection_that_is_refused_is_given_up_at_once(behaviour, code, advice):
    with ScriptedRtspServer(behaviour) as server:
        begun_at = time.monotonic()
        with pytest.raises(SourceError, match=advice) as caught:
            watch_once(f"rtsp://admin:hunter2@127.0.0.1:{server.port}/live", CONFIG)
    assert caught.value.code == code
    assert time.monotonic() - begun_at < 3


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("unknown_codec", "STREAM_CODEC_UNSUPPORTED"),
        ("no_video", "STREAM_NO_VIDEO"),
        ("nothing_to_play", "STREAM_TIMEOUT"),
    ],
)
def test_a_camera_with_nothing_to_show_is_given_up_by_name(behaviour, code):
    with ScriptedRtspServer(behaviour) as server:
        source = open_source(f"rtsp://127.0.0.1:{server.port}/live", IMPATIENT)
        with source, pytest.raises(SourceError) as caught:
            list(source)
        assert caught.value.code == code
        assert source.status.last_error is caught.value


def test_time_of_capture_is_the_cameras_own_through_a_restart(tmp_path):
    video = write_video(tmp_path / "loop.mp4", num_frames=200, fps=20)
    with RtspCamera(video, clock_ahead_s=12.0) as camera, open_source(camera.url, CONFIG) as source:
        before = list(islice(source, 30))
        error_s = time.time() + 12.0 - before[-1].captured_at
        camera.kill()
        wait_for(source, SourceState.RECONNECTING)
        time.sleep(1.0)  # a while in which nothing can be seen
        camera.start()
        wait_for(source, SourceState.RUNNING, timeout_s=10)
        after = list(islice(source, 30))
        errors_s = (error_s, time.time() + 12.0 - after[-1].captured_at)
    assert errors_s == pytest.approx((0, 0), abs=1.0)
    assert after[-1].stream_s - before[-1].stream_s > 1.5
    known = before[5:] + after[5:]  # from the first RTCP report on
    for frame in known:
        assert frame.stream_s - known[0].stream_s == pytest.approx(
            frame.captured_at - known[0].captured_at, abs=1.0
        )


@pytest.mark.parametrize("fps", [5, 40])
def test_a_camera_that_tells_no_times_is_timed_by_the_wall(fps):
    """FFmpeg makes up 25 frames a second for pictures one after the other."""
    jpegs = []
    for number in range(50):
        buffer = io.BytesIO()
        Image.fromarray(picture(number)).save(buffer, "JPEG")
        jpegs.append(buffer.getvalue())
    with motion_jpeg(jpegs, fps) as url, open_source(f"{url}/mjpeg", CONFIG) as source:
        frames, began = [], None
        for frame in source:
            began = began or time.monotonic() - frame.stream_s
            frames.append(frame)
            if time.monotonic() - began > 3:
                break
        passed_s = time.monotonic() - began
    assert_rising(frames)
    assert frames[-1].stream_s == pytest.approx(passed_s, abs=0.6)


def test_a_daemon_keeps_trying_a_camera_that_refuses_it():
    with ScriptedRtspServer("wrong_password") as server:
        url = f"rtsp://admin:hunter2@127.0.0.1:{server.port}/live"
        with open_source(url, IMPATIENT, keep_trying=True) as source:
            time.sleep(1.5)
            status = source.status
    assert status.state is SourceState.RECONNECTING
    assert status.last_error.code == "STREAM_AUTH_FAILED"
    assert status.counts.reconnects >= 2


def test_a_port_where_nothing_listens_is_retried_until_the_connect_timeout():
    begun_at = time.monotonic()
    with pytest.raises(SourceError, match="host and port") as caught:
        watch_once(f"rtsp://127.0.0.1:{free_port()}/live", IMPATIENT)
    assert caught.value.code == "STREAM_CONNECTION_FAILED"
    assert 0.9 < time.monotonic() - begun_at < 2.5


def test_a_camera_that_never_sends_is_given_up_after_the_connect_timeout():
    with ScriptedRtspServer("silent") as server:
        begun_at = time.monotonic()
        with pytest.raises(SourceError, match="nothing came") as caught:
            watch_once(f"rtsp://127.0.0.1:{server.port}/live", IMPATIENT)
    assert caught.value.code == "STREAM_TIMEOUT"
    assert 0.9 < time.monotonic() - begun_at < 2.5


def test_a_missing_webcam_is_reported():
    with pytest.raises(SourceError) as caught:
        watch_once("webcam:77", IMPATIENT)
    assert caught.value.code in ("STREAM_NOT_FOUND", "STREAM_CONNECTION_FAILED")


def watch_once(url, config):
    with open_source(url, config) as source:
        return list(source)


def held():
    gc.collect()
    process = psutil.Process()
    return process.num_threads(), process.num_fds(), len(process.net_connections())


def require_nothing_left(before):
    """What other tests left in this process may end meanwhile; that is no fault of this one."""
    give_up_at = time.monotonic() + 30
    while any(now > then for now, then in zip(held(), before, strict=True)):
        assert time.monotonic() < give_up_at, (held(), before)
        time.sleep(0.05)


def close_and_time(source):
    begun_at = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - begun_at < 5  # waits and timeouts are of 30 to 60 s
    assert list(source) == []
    assert source.status.state is SourceState.ENDED


def test_closing_a_running_stream_leaves_nothing_behind(camera):
    before = held()
    source = open_source(camera.url, CONFIG)
    next(iter(source))
    close_and_time(source)
    require_nothing_left(before)


def test_closing_is_prompt_while_the_camera_is_frozen(camera):
    patient = CONFIG.model_copy(update={"read_timeout_s": 60.0})
    before = held()
    source = open_source(camera.url, patient)
    next(iter(source))
    camera.stop()
    try:
        wait_for(source, SourceState.STALLED)
        close_and_time(source)
    finally:
        camera.cont()
    require_nothing_left(before)


def test_closing_is_prompt_while_the_camera_does_not_answer():
    with ScriptedRtspServer("silent") as server:
        before = held()
        source = open_source(f"rtsp://127.0.0.1:{server.port}/live", CONFIG)
        time.sleep(0.3)
        close_and_time(source)
    require_nothing_left(before)


def test_closing_is_prompt_while_waiting_to_try_again():
    lazy = CONFIG.model_copy(update={"retry_min_s": 30.0, "connect_timeout_s": 60.0})
    source = open_source(f"rtsp://127.0.0.1:{free_port()}/live", lazy)
    wait_for(source, SourceState.RECONNECTING)
    close_and_time(source)


@pytest.mark.parametrize("behaviour", ["wrong_password", "not_found", "silent", "nobody"])
def test_a_password_never_shows(behaviour, caplog, capsys):
    with structlog.testing.capture_logs() as logs, ScriptedRtspServer(behaviour) as server:
        port = free_port() if behaviour == "nobody" else server.port
        url = f"rtsp://admin:hunter2@127.0.0.1:{port}/live?token=hunter2"
        config = CONFIG.model_copy(update={"connect_timeout_s": 0.5})
        with open_source(url, config) as source, pytest.raises(SourceError) as caught:
            list(source)
        shown = [repr(logs), repr(source), source.name, repr(source.status), caplog.text]
    shown += traceback.format_exception(caught.value)
    shown += [repr(caught.value), repr(caught.value.__context__), *capsys.readouterr()]
    assert "hunter2" not in "".join(shown)
    assert "admin" not in "".join(shown)
    assert "127.0.0.1" in source.name
    if behaviour == "wrong_password":
        assert "admin:hunter2" in server.passwords_seen  # it did reach the camera


def test_a_reader_whose_own_code_fails_in_the_decoding_thread_hears_of_it(camera):
    def wants(stream_s):
        raise ZeroDivisionError("in wants")

    with (
        structlog.testing.capture_logs() as logs,
        pytest.raises(ZeroDivisionError),
        open_source(camera.url, CONFIG, wants=wants) as source,
    ):
        list(source)
    assert logs[-1]["log_level"] == "error"
    assert source.status.state is SourceState.ERROR
