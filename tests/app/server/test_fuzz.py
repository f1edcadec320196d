"""Hostile frames: whatever is sent, it is answered, nothing leaks, and good ones still come in."""

import gc
import json
import os
import random
import time

import psutil
import pytest
from hostile_frames import GOOD, MOST_BYTES, bombs, break_the_protocol, hang_up
from one_thing import thing_jpeg
from processes import until
from service import running_service
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

WARM_ROUNDS, ROUNDS = 4, 12
ERRORS = {"FRAME_INVALID", "FRAME_OUT_OF_ORDER", "question_invalid", "invalid_value"}


@pytest.fixture(scope="module")
def service():
    with running_service(max_body_bytes=MOST_BYTES) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        running.http.post("/v1/streams/door/frames", content=GOOD)
        running.await_stream("door", lambda told: told["memory"]["blocks"])
        yield running


def _url(service, stream_id="door"):
    return service.url.replace("http", "ws") + f"/v1/streams/{stream_id}/frames"


def texts(rng):
    """Text messages that date nothing."""
    depth = rng.randrange(10_000, 60_000)
    return [
        "",
        "{",
        "null",
        "[" * depth,
        '{"captured_at":' * depth,
        '{"captured_at": ' + "[" * depth,
        '{"captured_at": ' + "9" * 5000 + "}",
        json.dumps({"captured_at": "x" * 100_000}),
        json.dumps({"captured_at": {"a": [1, 2, None]}}),
        '{"captured_at": NaN}',
        '{"captured_at": "\\ud800"}',
        json.dumps({"captured": 1}),
        "".join(chr(rng.randrange(1, 0xD800)) for _ in range(500)),
        json.dumps({"captured_at": "1 day ago " * 5000}),
    ]


def send_all(service, rng):
    """One connection that takes all of it, in any order; every message is answered once."""
    messages = bombs(rng) + texts(rng)
    rng.shuffle(messages)
    with connect(_url(service), max_size=None) as client:
        for message in messages:
            if isinstance(message, bytes) and len(message) > 1000 and rng.random() < 0.5:
                half = rng.randrange(len(message))
                client.send([message[:half], b"", message[half:]])  # in fragments
            else:
                client.send(message)
            if isinstance(message, str) and _dates(message):
                continue  # told of by the answer to the next picture
            told = json.loads(client.recv(timeout=30))
            assert "accepted" in told or told["error"]["code"] in ERRORS, told
        client.send(GOOD)
        told = json.loads(client.recv(timeout=30))
        if "error" in told:  # of a date before it
            assert told["error"]["code"] in ERRORS
            client.send(GOOD)
            told = json.loads(client.recv(timeout=30))
        assert "accepted" in told


def _dates(message):
    try:
        json.loads(message)["captured_at"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def post_all(service, rng):
    """The same by POST, and with dates in the header."""
    for body in bombs(rng):
        posted = service.http.post("/v1/streams/door/frames", content=body)
        assert posted.status_code in (200, 413, 422), posted.text
    for date in ("x", "-1", "1e400", "9" * 64, "NaN", "0001-01-01T00:00", "-999999d"):
        headers = {"X-Capture-Time": date}
        posted = service.http.post("/v1/streams/door/frames", content=GOOD, headers=headers)
        assert posted.status_code in (400, 422), (date, posted.text)


def a_round(service, rng):
    send_all(service, rng)
    hang_up(_url(service), rng)
    break_the_protocol(_url(service), rng)
    post_all(service, rng)
    with pytest.raises(InvalidStatus), connect(_url(service, "nowhere")):
        pass


def usage():
    gc.collect()
    process = psutil.Process()
    return process.memory_info().rss, process.num_fds(), process.num_threads()


def test_hostile_frames_leave_nothing_behind(service):
    rng = random.Random(7)
    for _ in range(WARM_ROUNDS):
        a_round(service, rng)
    before = usage()
    for _ in range(ROUNDS):
        a_round(service, rng)
    rss, fds, threads = before

    def is_clean():
        now = usage()
        return now[1] <= fds + 2 and now[2] <= threads + 2

    until(is_clean, seconds=60)
    assert usage()[0] - rss < 16 << 20
    document = service.get("/v1/streams/door")
    assert document["dropped"]["corrupt"] > ROUNDS

    encoded = document["frames"]["encoded"]
    with connect(_url(service)) as client:
        client.send(thing_jpeg("burger"))
        assert "accepted" in json.loads(client.recv(timeout=20))
        # One a second is sampled: what comes too soon is dropped, and said to be.
        give_up_at = time.monotonic() + 20
        while service.get("/v1/streams/door")["frames"]["encoded"] <= encoded:
            assert time.monotonic() < give_up_at
            client.send(thing_jpeg("burger", rng.random()))
            client.recv(timeout=20)
    assert service.get("/v1/streams/door")["state"] == "running"
    told = service.ask("what do you see now?", "stream://door")
    assert "burger" in told["choices"][0]["message"]["content"]


NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-0", "1e-400", '"\\ud800"', "true", "[]", "{}")
PLACES = {
    "/v1/search": (
        '{"query": "x", "from_s": %s}',
        '{"query": %s}',
        '{"query": "x", "limit": %s}',
        '{"query": "x", "from": %s}',
        '{"query": "x", "stream_ids": [%s]}',
    ),
    "/v1/moments": (
        '{"statement": "x", "to_s": %s}',
        '{"statement": %s}',
        '{"statement": "x", "judgements": %s}',
        '{"statement": "x", "effort": %s}',
    ),
    "/v1/recaps": (
        '{"from_s": %s}',
        '{"to": %s}',
        '{"stream_ids": [%s]}',
        '{"effort": %s}',
    ),
    "/v1/chat/completions": (
        '{"messages": [{"role": "user", "content": "x"}], "temperature": %s}',
        '{"messages": [{"role": "user", "content": %s}]}',
        '{"messages": %s}',
        '{"messages": [{"role": "user", "content": "x"}], "stop": %s}',
        '{"messages": [{"role": "user", "content": "x"}], "seed": %s}',
        '{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": %s}]}',
        '{"messages": [{"role": "user", "content": "x"}], "response_format": {"type": '
        '"json_schema", "json_schema": {"schema": {"const": %s}}}}',
    ),
    "/v1/responses": (
        '{"input": %s}',
        '{"input": "x", "metadata": {"a": %s}}',
        '{"input": "x", "instructions": %s}',
        '{"input": "x", "previous_response_id": %s}',
    ),
    "/v1/alerts": (
        '{"stream_ids": ["nowhere"], "condition": "x", "every_s": %s}',
        '{"stream_ids": ["door"], "condition": "x", "until": %s}',
        '{"stream_ids": [%s], "condition": "x"}',
    ),
    "/v1/streams": (
        '{"id": "y", "source": {"type": "push"}, "masks": [[[%s, 0], [0, 1], "x"]]}',
        '{"id": %s, "source": {"type": "push"}}',
        '{"id": "z", "source": {"type": "push"}, "memory": {"retention": %s, "x": 1}}',
    ),
}


@pytest.mark.parametrize("path", PLACES)
def test_hostile_documents_are_answered(service, path):
    """By anything but a failure, in OpenAI's shape."""
    bodies = [place % number for place in PLACES[path] for number in NUMBERS]
    bodies += ["", "[" * 200_000, '{"a":' * 50_000, "\ufeff{}", "nul", '"x"', "[1]", "{}" * 2]
    for body in [*map(str.encode, bodies), os.urandom(1000), b"\xff\xfe{\x00}\x00", b"\x00"]:
        headers = {"Content-Type": "application/json"}
        told = service.http.post(path, content=body, headers=headers)
        assert told.status_code < 500, (body[:80], told.text)
        if not told.is_success:
            assert set(told.json()["error"]) == {"message", "type", "param", "code"}
