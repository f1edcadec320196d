"""The store of a cluster goes away and comes back: every stream stays where it was."""

import threading
import time

import pytest
from near_workers import near_cluster
from one_thing import thing_jpeg
from processes import until
from redis_servers import RedisServer, redis_binary

from app.cluster import ownership
from memory.tiers.redis import in_redis, redis_stream
from memory.tiers.redis.redis_worker import LEASE_S

STREAMS = [f"cam{number}" for number in range(4)]


@pytest.fixture
def server(tmp_path):
    server = RedisServer(redis_binary(), tmp_path)
    yield server
    server.kill()


def test_no_stream_moves_because_all_leases_ended(server, monkeypatch):
    with near_cluster(server.url) as cluster:
        for stream_id in STREAMS:
            cluster.post("/v1/streams", {"id": stream_id, "source": {"type": "push"}})
            cluster.http.post(f"/v1/streams/{stream_id}/frames", content=thing_jpeg("owl"))
        workers = cluster.near.workers
        until(lambda: {one for worker in workers.values() for one in worker.streams} >= {*STREAMS})
        before = {name: sorted(worker.streams) for name, worker in workers.items()}
        best_first = ownership.rendezvous
        monkeypatch.setattr(  # now the others would like to have them
            ownership, "rendezvous", lambda key, workers: best_first(key, workers)[::-1]
        )
        living, ended_until = in_redis.living_writers, [0.0]

        def living_writers(link, leases):
            """Workers are processes of their own elsewhere, and some renew later than others."""
            found = living(link, leases)
            return found if time.monotonic() > ended_until[0] else [None] * len(found)

        for asks in (in_redis, redis_stream):
            monkeypatch.setattr(asks, "living_writers", living_writers)
        server.kill()
        threading.Event().wait(LEASE_S + 0.5)
        ended_until[0] = time.monotonic() + 2
        server.start()
        until(lambda: time.monotonic() > ended_until[0] + 2)
        assert {name: sorted(worker.streams) for name, worker in workers.items()} == before
