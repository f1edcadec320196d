"""A stream that other processes ingest, one after the other, is asked over HTTP all the while."""

from contextlib import contextmanager

import pytest
from engine import stream_frames
from service import embedded, running_service

from memory import MemoryConfig
from vstream import VStreamConfig, open_session

STREAM = "/v1/streams/door"
ASKED = [
    {"type": "input_text", "text": "what do you see?"},
    {"type": "video_url", "video_url": {"url": "stream://door"}},
]
SEARCH = {"query": "a cat", "stream_ids": ["door"]}


def respond(service):
    made = service.post("/v1/responses", {"input": [{"role": "user", "content": ASKED}]})
    assert made["status"] == "completed", made["error"]


CALLS = {
    "chat": lambda service: service.ask("what do you see?", "stream://door"),
    "response": respond,
    "frame": lambda service: service.http.get(f"{STREAM}/frame.jpg").raise_for_status(),
    "timeline": lambda service: service.get(f"{STREAM}/timeline"),
    "search": lambda service: service.post("/v1/search", SEARCH),
}


@contextmanager
def ingest(server, start):
    """As `vstream ingest` does: the only writer, as long as it lasts."""
    config = VStreamConfig(memory=MemoryConfig(store=server.url))
    with open_session(config, embedded(), "door") as session:
        session.push(stream_frames(3, start=start))
        session.memory.flush()
        yield


@pytest.mark.parametrize("call", CALLS)
def test_a_stream_whose_ingest_was_restarted_is_read_as_it_is_now(valkey_server, call):
    with running_service(store=valkey_server.url) as service:
        with ingest(valkey_server, 0):
            CALLS[call](service)
        with ingest(valkey_server, 10):
            CALLS[call](service)
            assert service.get(f"{STREAM}/timeline")["kept_to_s"] == 12
