"""Real `vstream serve` processes are ended, interrupted and killed: what was seen is not lost."""

import io
import json
import signal
import socket
import time
from contextlib import contextmanager

import httpx
import psutil
from attack import chat, costly, flood
from command_line import vstream
from followed import Followed
from PIL import Image
from processes import Process, until
from rtsp_camera import RtspCamera
from service import endless
from synthetic_video import picture, write_video

from app.server.keys import ApiKeys
from app.server.run import run
from app.server.service import Service
from app.server.settings import load_settings

GRACE_S = 2


class Served:
    """A `vstream serve` process that is ready, with a client of it."""

    def __init__(self, store, grace_s=GRACE_S):
        self.process = Process(
            *("serve", "--port", 0, "--store", store, "--allow-private", "--threads", 1),
            VSTREAM_SERVICE__GRACE_S=str(grace_s),
        )
        self.url = self.process.found(r"listening on (\S+)")
        self.http = httpx.Client(base_url=self.url, timeout=30)
        until(lambda: self.http.get("/ready").status_code == 200)

    def stream(self, stream_id):
        answer = self.http.get(f"/v1/streams/{stream_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def push(self, num_frames):
        for number in range(num_frames):
            buffer = io.BytesIO()
            Image.fromarray(picture(number)).save(buffer, "JPEG")
            at = str(time.time() - 2 * (num_frames - number))
            self.http.post(
                "/v1/streams/door/frames", content=buffer.getvalue(), headers={"X-Capture-Time": at}
            ).raise_for_status()
            until(lambda: self.stream("door")["memory"]["blocks"] >= number + 1)  # noqa: B023

    def create(self, stream_id, source, **more):
        spec = {"id": stream_id, "source": source, "sampling": {"dedup": 0}, **more}
        self.http.post("/v1/streams", json=spec).raise_for_status()


@contextmanager
def answering(served):
    """While an answer of a minute streams."""
    asked = endless("door", stream=True)
    followed = Followed("POST", f"{served.url}/v1/chat/completions", json=asked)
    until(lambda: len(followed.data) > 5)
    yield followed
    until(lambda: followed.has_ended)


def test_a_signal_that_comes_with_the_address_is_heeded(tmp_path):
    def too_early(number, frame):
        raise AssertionError("nobody heeds the signal yet")

    settings = load_settings(None, memory={"store": f"file://{tmp_path}"}, service={"port": 0})
    before = signal.signal(signal.SIGTERM, too_early)
    try:
        run(Service(settings, ApiKeys(None)), lambda url: signal.raise_signal(signal.SIGTERM))
        assert signal.getsignal(signal.SIGTERM) is too_early
    finally:
        signal.signal(signal.SIGTERM, before)


_LOADS_FOR_LONG = """
import torch
import app.server.service
from app.cli import main

def load(*settings):
    while True:
        torch.ones(900, 900) @ torch.ones(900, 900)

app.server.service.load_video_llm = load
main()
"""


def test_a_service_that_ends_amid_a_load_that_takes_longer_than_its_grace_ends_well(tmp_path):
    settings = {"VSTREAM_SERVICE__GRACE_S": "0.2", "VSTREAM_MEMORY__STORE": f"file://{tmp_path}"}
    serve = (_LOADS_FOR_LONG, "serve", "--port", "0", "--no-page")
    process = Process(*serve, module="-c", **settings)
    process.await_line("loading model")
    time.sleep(1)
    process.send(signal.SIGTERM)
    assert (process.wait(20), process.err[-1]) == (0, "stopped\n")


def test_a_running_answer_gets_its_grace_and_everything_else_ends(tmp_path):
    store = f"file://{tmp_path}"
    served = Served(store)
    about = {"context": "Front door of a shop.", "timezone": "Europe/Prague"}
    served.create("door", {"type": "push"}, masks=[[[0, 0], [0.5, 0], [0.5, 0.5]]], **about)
    served.push(6)
    events = Followed("GET", f"{served.url}/v1/events")
    with answering(served) as answer:
        began = time.monotonic()
        served.process.send(signal.SIGTERM)
        until(lambda: served.http.get("/ready").status_code == 503)
        assert served.http.get("/ready").json()["status"] == "draining"
        refused = served.http.post("/v1/chat/completions", json=endless("door"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_draining")
        assert refused.headers["retry-after"]
        until(lambda: events.has_ended, seconds=GRACE_S)
        assert events.failure is None
        so_far = len(answer.data)
        until(lambda: len(answer.data) > so_far + 5)  # it goes on meanwhile
    assert served.process.wait() == 0
    assert GRACE_S <= time.monotonic() - began < GRACE_S + 10
    assert answer.failure is None
    assert answer.data[-1] == "[DONE]"
    assert json.loads(answer.data[-2])["error"]["code"] == "cancelled"
    assert not any("Traceback" in line for line in served.process.err), served.process.err

    again = Served(store, grace_s=300)
    told = again.stream("door")
    assert told["memory"]["blocks"] == 6
    assert {name: told[name] for name in about} == about
    again.push(1)  # and it goes on
    with answering(again) as answer:
        again.process.send(signal.SIGINT)
        until(lambda: again.http.get("/ready").status_code == 503)
        again.process.send(signal.SIGINT)  # a second one does not wait for the grace
        began = time.monotonic()
    assert again.process.wait() == 0
    assert time.monotonic() - began < 20
    assert json.loads(answer.data[-2])["error"]["code"] == "cancelled"


def test_a_service_ends_within_its_grace_while_schemas_are_tried_and_wait(tmp_path):
    served = Served(f"file://{tmp_path}")
    served.create("door", {"type": "push"})
    served.push(1)
    replies = []
    with httpx.Client(base_url=served.url, timeout=60) as client:
        await_all = flood(client, [chat("door", costly()) for _ in range(40)], replies)
        until(lambda: psutil.Process(served.process.pid).children())
        began = time.monotonic()
        served.process.send(signal.SIGTERM)
        assert served.process.wait() == 0
        assert time.monotonic() - began < GRACE_S + 60  # to try them all takes minutes
        await_all()
    assert {reply.status_code for reply in replies} <= {400, 429, 503}
    cut_off = [reply for reply in replies if reply.status_code == 503]
    assert {reply.json()["error"]["code"] for reply in cut_off} <= {"cancelled", "service_draining"}
    assert not any("Traceback" in line for line in served.process.err), served.process.err


def test_a_service_that_is_killed_goes_on_with_its_streams_by_itself(tmp_path):
    write_video(tmp_path / "loop.mp4", num_frames=100, fps=20)
    with RtspCamera(tmp_path / "loop.mp4") as camera:
        served = Served(f"file://{tmp_path}/store")
        served.create("door", {"url": camera.url}, context="Front door.")
        until(lambda: served.stream("door")["memory"]["blocks"] >= 3)
        with answering(served):
            blocks = served.stream("door")["memory"]["blocks"]
            served.process.kill()
        again = Served(f"file://{tmp_path}/store", grace_s=300)
        told = again.stream("door")
        assert told["memory"]["blocks"] >= blocks
        assert told["context"] == "Front door."
        until(lambda: again.stream("door")["memory"]["blocks"] > told["memory"]["blocks"])
        assert again.stream("door")["state"] == "running"
        began = time.monotonic()
        assert again.process.terminate() == 0
        assert time.monotonic() - began < 100  # nobody is answered: no grace is waited for


def test_what_keeps_a_service_from_beginning_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ends = {
            "is no checkpoint": vstream("serve", tmp_path, "--port", 0),
            f"cannot listen on 127.0.0.1:{port}": vstream("serve", "--port", port),
            "cannot be reached": vstream("serve", "--port", 0, "--store", "redis://127.0.0.1:1/0"),
        }
    for words, end in ends.items():
        assert end.code == 1
        errors = [line for line in end.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, end.err
        assert words in errors[0]
        assert "Traceback" not in end.err
