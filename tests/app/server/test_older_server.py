"""A Redis that comes back without the newest blocks: the service goes on after those it has."""

import shutil
import time

import pytest
from one_thing import thing_jpeg
from processes import until
from redis_servers import RedisServer, Sentinel, redis_binary
from service import embedded, running_service
from structlog.testing import capture_logs

THINGS = ["owl", "burger", "dog", "cat"]


@pytest.fixture
def servers(tmp_path):
    """Makes one more, as RedisServer is made; all end with the test."""
    made = []

    def one_more(kind, *options):
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        made.append(kind(redis_binary(), folder, *options))
        return made[-1]

    yield one_more
    for one in reversed(made):
        one.kill()


class Door:
    """A stream of one frame for each second since ten minutes ago."""

    def __init__(self, service):
        self._service, self._began_at, self._seconds = service, time.time() - 600, 0
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})

    def push(self):
        taken = {"X-Capture-Time": str(self._began_at + self._seconds)}
        picture = thing_jpeg(THINGS[self._seconds % len(THINGS)])
        self._service.http.post("/v1/streams/door/frames", content=picture, headers=taken)
        self._seconds += 1

    def shown(self, seconds):
        """Show as many, and wait until they are stored."""
        for _ in range(seconds):
            before = self.times()
            self.push()
            until(lambda: self.times() != before)  # noqa: B023
        self._service.await_stream("door", lambda told: not told["memory"]["waiting_blocks"])
        return self.times()

    def times(self):
        return times(self._service)


def times(service):
    """When the door's blocks were seen, in seconds of the stream."""
    memory = service.service.loaded.streams.find("door").session.memory
    return [round(memory.info(block_id).end_s) for block_id in memory.visible(None)]


def test_a_server_that_lost_its_newest_seconds_is_gone_on_with(servers, tmp_path):
    """As with `appendfsync everysec` after a power cut."""
    server = servers(RedisServer)
    with running_service(model=embedded(), store=server.url) as service, capture_logs() as logged:
        door = Door(service)
        assert door.shown(3) == [0, 1, 2]
        shutil.copytree(tmp_path / "server0", tmp_path / "older")
        assert door.shown(3) == [0, 1, 2, 3, 4, 5]
        server.kill()
        shutil.rmtree(tmp_path / "server0")
        (tmp_path / "older").rename(tmp_path / "server0")
        server.start()
        until(lambda: door.push() or any("the newest blocks" in str(one) for one in logged), 20)
        until(lambda: door.push() or len(door.times()) > 4)
        kept = door.times()
        assert kept[:3] == [0, 1, 2]
        assert not {3, 4, 5} & set(kept)
        cited = service.ask("what is there?", "stream://door")["choices"][0]["message"]
        assert {round(one["end_s"]) for one in cited["annotations"]} <= set(kept)
        service.await_stream("door", lambda told: not told["memory"]["waiting_blocks"])
    with running_service(model=embedded(), store=server.url) as again:
        assert times(again)[: len(kept)] == kept


def test_a_replica_takes_over(servers):
    master = servers(RedisServer)
    replica = servers(RedisServer, "--replicaof", "127.0.0.1", str(master.port))
    with replica.client() as client:
        until(lambda: client.info("replication")["master_link_status"] == "up")
    sentinel = servers(Sentinel, master)
    with sentinel.client() as client:
        until(lambda: client.execute_command("SENTINEL", "REPLICAS", "blocks"))
    with running_service(model=embedded(), store=sentinel.url) as service:
        door = Door(service)
        assert door.shown(3) == [0, 1, 2]
        with master.client() as client:
            client.wait(1, 5000)
        master.kill()
        door.push()  # nothing says so yet
        with replica.client() as client:
            until(lambda: client.info("replication")["role"] == "master")
        assert door.shown(2)[:3] == [0, 1, 2]
        kept = door.times()
        assert service.ask("what is there?", "stream://door")["choices"][0]["message"]["content"]
    with running_service(model=embedded(), store=replica.url) as again:
        assert times(again) == kept
