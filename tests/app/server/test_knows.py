"""A model that knows drawings only says so with everything that it says; others say nothing."""

import json
import time

import pytest
from followed import Followed
from loopback_http import loopback_http
from one_thing import thing_jpeg
from processes import until
from service import embedded, running_service
from tiny_checkpoints import save_tiny_checkpoint

from vstream import load_video_llm

ASKED = [
    {"type": "video_url", "video_url": {"url": "stream://door"}},
    {"type": "input_text", "text": "what do you see?"},
]


@pytest.fixture(scope="module", params=["embedded", "another"])
def told(request, tmp_path_factory):
    """A service with a stream of one frame, and what its model is said to know."""
    model, knows = embedded(), "drawings only"
    if request.param == "another":
        folder = tmp_path_factory.mktemp("models")
        save_tiny_checkpoint("llava_onevision", folder)
        model, knows = load_video_llm(str(folder)), None
    with running_service(model=model, allow_private=True) as service:
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        push(service)
        yield service, knows


def push(service):
    before = service.get("/v1/streams/door")["memory"]["blocks"]
    path = "/v1/streams/door/frames"
    while not service.post(path, content=thing_jpeg("owl", before / 8))["accepted"]:
        time.sleep(0.1)  # the next tick of one frame a second
    service.await_stream("door", lambda one: one["memory"]["blocks"] > before)


def test_with_an_answer(told):
    service, knows = told
    answer = service.ask("what do you see?", "stream://door", max_tokens=4)
    assert [one["knows"] for one in answer["vstream"]] == [knows]


def test_with_an_answer_that_comes_in_pieces(told):
    service, knows = told
    parts = [ASKED[0], {"type": "text", "text": "what do you see?"}]
    wanted = {"messages": [{"role": "user", "content": parts}], "max_tokens": 4, "stream": True}
    followed = Followed("POST", f"{service.url}/v1/chat/completions", json=wanted)
    until(lambda: followed.has_ended)
    last = json.loads(followed.data[-2])
    assert [one["knows"] for one in last["vstream"]] == [knows]


def test_with_a_response(told):
    service, knows = told
    wanted = {"input": [{"role": "user", "content": ASKED}], "max_output_tokens": 4}
    assert [one["knows"] for one in service.post("/v1/responses", wanted)["vstream"]] == [knows]


def test_with_what_is_told_of_the_model(told):
    service, knows = told
    assert [one["knows"] for one in service.get("/v1/models")["data"]] == [knows, knows]


def test_with_an_alert_and_its_webhook(told):
    service, knows = told
    listener = Followed("GET", f"{service.url}/v1/events")
    with loopback_http(lambda request: (204, {}, b"")) as receiver:
        alert = {
            "stream_ids": ["door"],
            "condition": "tell me when there is an owl",
            "threshold": 0,
            "confirmations": 1,
            "actions": [{"type": "webhook", "url": f"{receiver.url}/hook"}],
        }
        service.post("/v1/alerts", alert)
        push(service)
        until(lambda: listener.events("alert.fired") and receiver.requests)
    (event,) = listener.events("alert.fired")
    assert event["data"]["knows"] == knows
    assert json.loads(receiver.requests[0].body)["data"]["knows"] == knows
