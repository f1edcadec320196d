"""interruptible: ends the blocking calls of one thread and of no other."""

import threading
import time

import av
import pytest
from av.container import core
from rtsp_camera import ScriptedRtspServer

from vstream.sources.decode_interrupt import interruptible


def open_silent(url, seconds):
    """The seconds after which opening a stream that never answers failed."""
    begun_at = time.monotonic()
    with pytest.raises(av.error.FFmpegError):
        av.open(url, options={"rtsp_transport": "tcp"}, timeout=(seconds, seconds))
    return time.monotonic() - begun_at


def test_a_stopped_thread_leaves_its_call_and_another_thread_waits_on():
    waited_s = {}

    def watch(name, must_stop, seconds):
        with interruptible(must_stop):
            waited_s[name] = open_silent(url, seconds)

    stop = threading.Event()
    with ScriptedRtspServer("silent") as server:
        url = f"rtsp://127.0.0.1:{server.port}/live"
        threads = [
            threading.Thread(target=watch, args=("stopped", stop.is_set, 20)),
            threading.Thread(target=watch, args=("other", lambda: False, 1.2)),
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.4)
        stop.set()
        for thread in threads:
            thread.join()
    assert waited_s["stopped"] < 1.0
    assert waited_s["other"] >= 1.2


def test_a_call_begun_after_the_stop_ends_as_well():
    with ScriptedRtspServer("silent") as server, interruptible(lambda: True):
        assert open_silent(f"rtsp://127.0.0.1:{server.port}/live", 20) < 1.0


def test_pyav_is_left_as_it_was_found():
    with interruptible(lambda: False):
        assert core.time is not time
    assert core.time is time
