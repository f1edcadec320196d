"""A thousand stored streams are listed in a few round trips over one connection."""

import pytest
from kv_blocks import kv_stream, memory_of
from redis.connection import Connection

from memory import FoundStream, find_stream, find_streams, stored_streams
from memory.tiers.redis.redis_keys import STREAMS, RedisKeys

NUM = 1000


@pytest.fixture
def full_server(redis_server):
    """One real stream, and so many that look like it to who does not read their blocks."""
    with memory_of(redis_server.url, stream_id="s0") as memory:
        for block in kv_stream(3):
            memory.append(block)
        memory.set_note({"service": {"spec": {"id": "s0"}}})
    ids = [f"s{number}" for number in range(NUM)]
    with redis_server.client() as client:
        meta = client.dump(RedisKeys("s0").meta)
        pipeline = client.pipeline()
        for stream_id in ids[1:]:
            pipeline.restore(RedisKeys(stream_id).meta, 0, meta)
        pipeline.sadd(STREAMS, *ids)
        pipeline.execute()
    return redis_server


@pytest.fixture
def round_trips(monkeypatch):
    """What is sent at once, but for the greetings of a new connection."""
    sent, send = [], Connection.send_packed_command

    def counted(connection, command, *args, **values):
        text = b"".join(command) if isinstance(command, list) else command
        if b"SETINFO" not in text:
            sent.append(text)
        return send(connection, command, *args, **values)

    monkeypatch.setattr(Connection, "send_packed_command", counted)
    return sent


@pytest.mark.parametrize("listed", [find_streams, stored_streams])
def test_a_thousand_streams_are_three_round_trips_and_one_connection(
    full_server, round_trips, listed
):
    with memory_of(full_server.url, stream_id="s7"), full_server.client() as client:

        def connections():
            return client.info("stats")["total_connections_received"]

        before = connections()
        del round_trips[:]
        found = listed(full_server.url)
        beat = (b"EVAL", b"\r\nSET\r\n")  # the writer's, which goes on meanwhile
        trips = [
            text
            for text in round_trips
            if b"vstream" in text and not any(one in text for one in beat)
        ]
        assert connections() - before == 1
    assert len(found) == NUM
    assert len(trips) <= 3


def test_what_is_found_of_all_is_what_is_found_of_each(full_server):
    with memory_of(full_server.url, stream_id="s7"), full_server.client() as client:
        client.hset(RedisKeys("s8").meta, "format_version", 99)
        found = find_streams(full_server.url)
        for stream_id in ("s0", "s7"):
            assert found[stream_id] == find_stream(full_server.url, stream_id)
    assert [one for one in found if not isinstance(found[one], FoundStream)] == ["s8"]
    assert "newer vstream" in str(found["s8"])
    assert found["s7"].state == "live"
    assert found["s0"].note["service"]["spec"] == {"id": "s0"}
