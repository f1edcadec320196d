"""What stands in the configuration of a cluster: each stream with one worker, all of it once."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest
from event_listener import EventListener
from loopback_http import loopback_http
from near_workers import near_cluster
from one_thing import thing_jpeg
from processes import until
from service import embedded

from app.cluster import ownership
from app.cluster.membership import Membership
from app.cluster.worker import StreamWorker
from app.server.keys import ApiKeys
from app.server.service import Phase
from app.server.settings import load_settings
from memory.tiers.redis.redis_keys import RedisKeys
from vstream.service import recaps
from vstream.service.webhook_delivery import new_secret

STREAMS = ["door", "gate", "hall", "yard"]
PASSWORD = "hunter2"


@pytest.fixture
def store(running_redis, monkeypatch):
    monkeypatch.setattr(ownership, "RANK_S", 60)  # each takes its own, however slow it is
    with running_redis.client() as client:
        client.flushall()
        yield running_redis.url, client


def configured(*, alerts=(), reports=()):
    streams = [{"id": name, "source": {"type": "push"}, "context": PASSWORD} for name in STREAMS]
    return {"streams": streams, "alerts": list(alerts), "recaps": list(reports)}


def push(running, stream_id):
    path = f"/v1/streams/{stream_id}"
    before = running.get(path)["frames"]["encoded"]
    running.http.post(f"{path}/frames", content=thing_jpeg("owl", 0.3))
    running.await_stream(stream_id, lambda told: told["frames"]["encoded"] > before)


def watched(running):
    return [set(worker.streams) for worker in running.near.workers.values()]


def are_all_watched(running):
    until(lambda: set().union(*watched(running)) == set(STREAMS))


def test_streams_are_watched_by_one_worker_each_and_go_on_with_another(store):
    url, client = store
    with near_cluster(url, config=configured()) as running:
        are_all_watched(running)
        first, second = watched(running)
        assert not first & second
        assert [one["id"] for one in running.get("/v1/streams")["data"]] == STREAMS
        for stream_id in STREAMS:
            push(running, stream_id)
        running.post("/v1/streams/yard/pause")
        refused = running.http.delete("/v1/streams/door")
        assert refused.status_code == 409, refused.text
        with EventListener(running.url, last_id=0, kind="stream.created") as listener:
            told = listener.await_events(lambda events: len(events) > len(STREAMS))
        assert sorted(one["stream_id"] for one in told[1:]) == STREAMS  # behind a gap
        gone = running.near.workers.pop("b")
        running.near.dead.add("b")
        running.run(gone.end())
        are_all_watched(running)
        for stream_id in STREAMS:
            assert running.get(f"/v1/streams/{stream_id}")["memory"]["blocks"] == 1
        assert running.get("/v1/streams/yard")["state"] == "paused"
    notes = [client.hget(RedisKeys(stream_id).meta, "note") for stream_id in STREAMS]
    assert all(b"paused" in note and PASSWORD.encode() not in note for note in notes)


def test_a_report_of_all_streams_is_made_once(store, monkeypatch):
    monkeypatch.setattr(recaps, "_LOOK_S", 0.05)
    looks = []
    make = recaps.Recaps.make_due
    monkeypatch.setattr(
        recaps.Recaps, "make_due", lambda self: [make(self), looks.append(id(self))]
    )
    with loopback_http(lambda request: (204, {}, b"")) as receiver:
        report = {
            "at": datetime.now(UTC).strftime("%H:%M"),
            "timezone": "UTC",
            "actions": [{"url": f"{receiver.url}/hook", "secret": new_secret()}],
        }
        config = configured(reports=[report])
        with near_cluster(store[0], config=config, allow_private=True) as running:
            until(lambda: receiver.requests)
            assert all(watched(running)), "it tells of streams of several workers"
            before = len(looks)
            for one in {*looks}:
                until(lambda one=one: looks[before:].count(one) > 3)
            with EventListener(running.url, last_id=0, kind="recap.made") as listener:
                told = listener.await_events(lambda events: len(events) > len(STREAMS))
        assert sorted(one["stream_id"] for one in told[1:]) == STREAMS
        assert len(receiver.requests) == 1


def test_answers_are_written_down_once_for_all_workers(store, tmp_path):
    log = tmp_path / "answers.jsonl"
    with near_cluster(store[0], config=configured(), answer_log=log) as running:
        are_all_watched(running)
        for stream_id in STREAMS:
            push(running, stream_id)
            running.ask("what is there?", f"stream://{stream_id}", max_tokens=1)
        told = running.get("/v1/answers")
        assert [one["stream_id"] for one in told["data"]] == STREAMS[::-1]
        assert not told["has_more"]
        running.delete(f"/v1/streams/{STREAMS[0]}/memory?from_s=0&to_s=9")
        # also what another worker has answered about it
        running.near.dead.add("b")
        running.run(running.near.workers.pop("b").end())
        are_all_watched(running)
        for stream_id in STREAMS[1:]:
            running.delete(f"/v1/streams/{stream_id}/memory?from_s=0&to_s=9")
        assert running.get("/v1/answers")["data"] == []
    assert not log.exists()


def test_a_worker_may_end_while_it_loads(store):
    async def run():
        settings = load_settings(None, memory={"store": store[0]})
        worker = StreamWorker(settings, ApiKeys(None), "a", Membership())
        may_load = threading.Event()
        worker.service._load_model = lambda: may_load.wait(60) and embedded()
        beginning = asyncio.create_task(worker.begin())
        await asyncio.wait({beginning}, timeout=0.5)
        assert worker.service.phase is Phase.LOADING
        beginning.cancel()
        may_load.set()
        await worker.end()

    asyncio.run(run())
