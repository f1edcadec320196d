"""The machine's clock is set under a live camera: the stream goes on, by the new clock."""

import json
import os
import time

import httpx
import pytest
from one_thing import write_thing_video
from processes import Process, until
from rtsp_camera import RtspCamera

SET_CLOCK = """
import os, time
_real = time.time
def _set():
    with open(os.environ["CLOCK_FILE"]) as file:
        return _real() + float(file.read() or 0)
time.time = _set
"""
"""An interpreter that runs it, or starts beside it, reads its clock as it is set in a file."""
SERVE = f"{SET_CLOCK}\nfrom app.cli import main; main()"
DAY_S, HOUR_S = 86_400, 3_600


@pytest.fixture
def clock(tmp_path):
    """Sets it, in seconds from the real one."""
    (tmp_path / "sitecustomize.py").write_text(SET_CLOCK)
    file, new = tmp_path / "clock", tmp_path / "new"

    def set_clock(seconds):
        new.write_text(str(seconds))
        new.rename(file)

    set_clock(0)
    return set_clock


@pytest.fixture
def http(tmp_path, clock):
    """A client of a service that watches a door with an owl, and has an alert on it."""
    with RtspCamera(write_thing_video(tmp_path / "owl.mp4", "owl", seconds=6)) as camera:
        alert = {"id": "cat", "stream_ids": ["door"], "condition": "tell me when you see a cat"}
        streams = [{"id": "door", "source": {"url": camera.url}}]
        config = tmp_path / "vstream.yaml"
        config.write_text(json.dumps({"streams": streams, "alerts": [alert], "threads": 1}))
        environment = {
            "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
            "CLOCK_FILE": str(tmp_path / "clock"),
        }
        arguments = (SERVE, "serve", "--port", "0", "--config", config)
        process = Process(*arguments, module="-c", warm="always", **environment)
        try:
            with httpx.Client(base_url=process.found(r"listening on (\S+)"), timeout=60) as client:
                until(lambda: client.get("/ready").status_code == 200)
                yield client
        finally:
            assert process.terminate() == 0, "".join(process.err[-20:])


def test_a_stream_goes_on_whatever_the_clock_is_set_to(http, clock):
    def door():
        return http.get("/v1/streams/door").json()

    def seen_more():
        """The stream, three more blocks and a judgement later."""
        seen, judged = door()["memory"]["blocks"], alert()["judged"]
        until(lambda: door()["memory"]["blocks"] >= seen + 3 and alert()["judged"] > judged)
        return door()

    def alert():
        return http.get("/v1/alerts/cat").json()

    def answer(text):
        parts = [{"type": "video_url", "video_url": {"url": "stream://door"}}]
        parts.append({"type": "text", "text": text})
        told = http.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]}
        )
        assert told.is_success, told.text
        return told.json()

    before = seen_more()
    for seconds in (DAY_S, -HOUR_S, 0, -5):
        clock(seconds)
        now = seen_more()
        assert now["state"] == "running"
        assert now["last_frame_age_s"] < 60  # by the clock as it is set
        assert (now["reconnects"], now["restarts"]) == (0, 0)
        per_block_s = (now["memory"]["to_s"] - before["memory"]["to_s"]) / (
            now["memory"]["blocks"] - before["memory"]["blocks"]
        )
        assert per_block_s < 10  # stream time did not jump
        told = answer("what is there now?")
        assert told["choices"][0]["message"]["content"] == "an owl"
        evidence = told["vstream"][0]
        assert abs(evidence["as_of"] - time.time() - seconds) < 60
        assert evidence["newest_frame_age_s"] < 60
        before = now
    assert now["dropped"]["stale"] + now["dropped"]["corrupt"] == 0
