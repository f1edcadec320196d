"""The service says at once whether it lives, however much work others give it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from one_thing import thing_jpeg
from processes import until
from service import running_service

from app.server.threads import Work

MANY = 60
AT_ONCE_S = 1.0


@pytest.fixture(scope="module")
def service():
    with running_service() as running:
        running.post("/v1/streams", {"id": "a", "source": {"type": "push"}})
        running.http.post("/v1/streams/a/frames", content=thing_jpeg("owl"))
        running.await_stream("a", lambda told: told["memory"]["blocks"])
        yield running


def _search(service, number):
    return service.http.post("/v1/search", json={"query": f"a red ring {number}"}).status_code


def _picture(service, number):
    return service.http.get("/v1/streams/a/frame.jpg", params={"t_s": 0.1}).status_code


def _timeline(service, number):
    return service.http.get("/v1/streams/a/timeline").status_code


@contextmanager
def _held_up(service, ask, monkeypatch):
    """So many requests of one kind that none of them ends within this, and then all of them do."""
    held, begun = threading.Event(), []
    streams = service.service.loaded.streams
    askable = streams.askable

    @contextmanager
    def waiting(stream_id):
        begun.append(stream_id)
        assert held.wait(60)
        with askable(stream_id) as found:
            yield found

    monkeypatch.setattr(streams, "askable", waiting)
    with ThreadPoolExecutor(MANY) as many:
        answers = [many.submit(ask, service, number) for number in range(MANY)]
        try:
            until(lambda: begun and len(service.server.server_state.connections) >= MANY)
            yield
            assert not any(one.done() for one in answers)
        finally:
            held.set()
        assert [one.result() for one in answers] == [200] * MANY


@pytest.mark.parametrize("ask", [_search, _picture, _timeline])
def test_health_ready_metrics_and_pushed_frames_wait_for_no_work(service, ask, monkeypatch):
    with _held_up(service, ask, monkeypatch):
        for path in ("/health", "/ready", "/metrics", "/version"):
            assert service.http.get(path, timeout=AT_ONCE_S).status_code == 200, path
        assert service.http.get("/v1/streams", timeout=AT_ONCE_S).status_code == 200
        pushed = service.http.post(
            "/v1/streams/a/frames", content=thing_jpeg("owl", 0.9), timeout=AT_ONCE_S
        )
        assert pushed.status_code == 200


def test_one_key_has_few_searches_waiting_and_others_still_search(keys, scoped, monkeypatch):
    """A quarter of the places, also for those whose clients have gone."""
    monkeypatch.setattr("app.server.threads._MOST_AT_ONCE", dict.fromkeys(Work, 8))
    with running_service(key=keys["master"], scoped=scoped, store="memory://") as service:
        service.post("/v1/streams", {"id": "a", "source": {"type": "push"}})
        service.http.post("/v1/streams/a/frames", content=thing_jpeg("owl"))
        service.await_stream("a", lambda told: told["memory"]["blocks"])
        reader = httpx.Client(
            base_url=service.url, headers={"Authorization": f"Bearer {keys['read_a']}"}, timeout=60
        )
        held, begun = threading.Event(), []
        search = service.service.loaded.search.search

        def waiting(*arguments):
            begun.append(1)
            assert held.wait(60)
            return search(*arguments)

        monkeypatch.setattr(service.service.loaded.search, "search", waiting)
        wanted = {"query": "a red ring", "stream_ids": ["a"]}
        with reader, ThreadPoolExecutor(8) as many:
            asked = [many.submit(reader.post, "/v1/search", json=wanted) for _ in range(6)]
            until(lambda: begun and sum(one.done() for one in asked) == 4)
            assert [one.result().status_code for one in asked if one.done()] == [429] * 4
            other = many.submit(service.http.post, "/v1/search", json=wanted)
            held.set()
            assert other.result().status_code == 200
            assert sorted(one.result().status_code for one in asked) == [200] * 2 + [429] * 4
