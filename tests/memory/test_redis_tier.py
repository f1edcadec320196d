"""A stream in Redis through everything that can happen to the server and to its writer."""

import threading
import time

import pytest
import redis
import torch
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, keeping_newest, kv_block, memory_of
from redis_servers import RedisServer, valkey_binary
from redis_workers import WriterProcess

from memory import (
    BlockLostError,
    FencedError,
    FingerprintMismatchError,
    MemoryConfig,
    StoreAwayError,
    StoreError,
    follow_memory,
    open_memory,
    open_stored,
    verify_stored,
)
from memory.tiers.redis.redis_keys import RedisKeys, worker_key
from memory.tiers.redis.redis_worker import LEASE_S

KEYS = RedisKeys("camera")


@pytest.fixture
def server(tmp_path):
    """One that is this test's own, to be killed. A reply means that it is on disk: else, while the
    disk is busy, the newest may be lost.
    """
    server = RedisServer(valkey_binary(), tmp_path, "--appendfsync", "always")
    yield server
    server.thaw()
    server.kill()


def append(memory, num_blocks):
    for _ in range(num_blocks):
        number = memory.num_blocks
        memory.append(kv_block(tokens=20, end_s=float(number), seed=number))


def append_large(memory, num_blocks):
    for number in range(num_blocks):
        memory.append(kv_block(400, float(number), number, kv_heads=8, head_dim=64))


def kept(memory):
    ids = memory.visible(None)
    rows = [memory.read(layer, ids, torch.float32, CPU) for layer in range(LAYERS)]
    return ids, torch.stack([torch.stack(pair) for pair in rows])


def same(one, other):
    return one[0] == other[0] and torch.equal(one[1], other[1])


def until(condition, seconds=10.0):
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come about in time"
        time.sleep(0.02)


def with_budget(url, budget_bytes, **values):
    config = MemoryConfig(store=url, redis_bytes=budget_bytes, host_bytes=1 << 20, **values)
    return open_memory(
        config, "camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU, policy=keeping_newest(4)
    )


def test_a_damaged_row_costs_its_block_once_it_is_read(valkey_server):
    with memory_of(valkey_server.url) as memory:
        append(memory, 5)
    (report,) = verify_stored(valkey_server.url)
    assert (report.blocks, report.faults) == (5, ())
    client = redis.Redis.from_url(valkey_server.url)
    generation, _, _ = client.hget(KEYS.table, "2").partition(b"\n")
    key = KEYS.block(2, generation.decode())
    client.hset(key, "1", b"?" + client.hget(key, "1")[1:])
    client.close()
    (report,) = verify_stored(valkey_server.url)
    assert (report.blocks, report.lost) == (4, 1)
    assert "block 2, layer 1: the bytes do not match" in str(report.faults[0])
    config = MemoryConfig(store=valkey_server.url)
    with memory_of(valkey_server.url) as memory, follow_memory(config, "camera", CPU) as reader:
        for one in (reader, memory):
            with pytest.raises(BlockLostError, match="block 2"):
                kept(one)
            assert kept(one)[0] == [0, 1, 3, 4]
            assert one.stats().damaged == 1
        append(memory, 1)
        assert memory.forget(1.0, 1.0) == 1
        reader.refresh()
        assert kept(reader)[0] == kept(memory)[0] == [0, 3, 4, 5]


def test_a_stream_goes_on_in_another_process_where_it_was(redis_server):
    with memory_of(redis_server.url) as memory:
        append(memory, 5)
        memory.set_note({"fps": 2.0})
        before = kept(memory)
    with memory_of(redis_server.url) as memory:
        assert same(kept(memory), before)
        assert memory.note == {"fps": 2.0}
        append(memory, 1)
        assert memory.visible(None) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(FingerprintMismatchError, match="'model-a' is stored, 'model-b' is wanted"):
        memory_of(redis_server.url, fingerprint="model-b")


def test_rows_that_no_table_names_go_by_themselves(redis_server):
    with redis_server.client() as client, memory_of(redis_server.url) as memory:
        append(memory, 3)
        memory.forget(1.0, 1.0)
        assert sorted(client.hkeys(KEYS.table)) == [b"0", b"2"]
        blocks = client.keys(f"{KEYS.blocks}*".replace("{", "[{]").replace("}", "[}]"))
        assert len(blocks) == 2
        assert all(client.ttl(key) == -1 for key in blocks)


def test_a_dead_writers_stream_is_taken_over_within_five_seconds(redis_server):
    process = WriterProcess(redis_server)
    dead = process.open()
    append(dead, 2)
    process.die()
    begun = time.monotonic()
    with memory_of(redis_server.url) as memory:
        assert time.monotonic() - begun < 5
        append(memory, 1)
        assert memory.num_blocks == 3
        with pytest.raises(FencedError, match="another process writes this stream now"):
            append(dead, 1)
        assert memory.num_blocks == 3
    with memory_of(redis_server.url) as memory:
        assert memory.num_blocks == 3


def test_of_two_living_writers_the_second_is_refused_by_name(redis_server):
    with memory_of(redis_server.url) as memory:
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"is being written by .*:\d+; stop that first"):
            memory_of(redis_server.url)
        assert time.monotonic() - begun > LEASE_S  # it waited: the first might have been dead
        append(memory, 1)


def test_a_writer_that_was_held_up_longer_than_its_lease_goes_on_if_nobody_came(redis_server):
    process = WriterProcess(redis_server)
    with redis_server.client() as client:
        memory, key = process.open(), worker_key(process.worker.id)
        process.oversleep()
        append(memory, 1)
        until(lambda: client.exists(key))
        append(memory, 1)
        process.close(memory)


def test_that_the_server_is_away_is_known_before_anything_is_given_to_it(server):
    with memory_of(server.url) as memory:
        append(memory, 1)
        server.freeze()
        until(lambda: memory.away is not None)
        begun_at = time.monotonic()
        append(memory, 1)
        assert time.monotonic() - begun_at < 0.5  # it is not waited for
        server.thaw()
        until(lambda: memory.away is None)
        until(lambda: memory.num_acknowledged == 2)
        server.kill()
        until(lambda: memory.away is not None)
        server.start()
        until(lambda: memory.away is None)


def test_while_the_server_is_down_blocks_wait_and_questions_read_what_is_here(server):
    with memory_of(server.url) as memory:
        append(memory, 4)
        before = kept(memory)
        server.kill()
        append(memory, 3)
        assert (memory.num_blocks, memory.num_acknowledged) == (7, 4)
        assert memory.stats().waiting == 3
        assert "cannot be reached" in memory.away
        while_down = kept(memory)
        assert torch.equal(while_down[1][:, :, :, : before[1].shape[3]], before[1])
        server.start()
        until(lambda: memory.num_acknowledged == 7)
        assert memory.away is None
        append(memory, 1)
        assert memory.num_acknowledged == 8
        everything = kept(memory)
    with memory_of(server.url) as memory:
        assert same(kept(memory), everything)


def test_rows_that_are_only_on_a_server_that_is_down_are_an_error_not_a_wrong_answer(server):
    with memory_of(server.url) as memory:
        append(memory, 4)
    reader = follow_memory(MemoryConfig(store=server.url), "camera", CPU)
    server.kill()
    with pytest.raises(StoreAwayError, match="cannot be reached"):
        reader.read(0, [1], torch.float32, CPU)
    server.start()
    reader.read(0, [1], torch.float32, CPU)
    reader.close()


def test_a_server_that_hangs_is_as_one_that_is_down(server):
    with memory_of(server.url) as memory:
        append(memory, 2)
        server.freeze()
        begun = time.monotonic()
        append(memory, 3)
        assert time.monotonic() - begun < 10
        server.thaw()
        until(lambda: memory.num_acknowledged == 5)
    with memory_of(server.url) as memory:
        assert memory.visible(None) == [0, 1, 2, 3, 4]


def test_what_waits_is_bounded_and_ingestion_waits_instead(server):
    config = MemoryConfig(store=server.url, buffer_bytes=1 << 20)
    with open_memory(config, "camera", "model-a", 2, 8, 64, CPU) as memory:
        server.kill()
        with pytest.raises(StoreAwayError, match="blocks are waiting already"):
            append_large(memory, 200)
        waiting = memory.stats().waiting
        assert waiting == memory.num_blocks < 200
        room = threading.Thread(target=memory.wait_for_room, args=(1, threading.Event()))
        room.start()
        room.join(0.3)
        assert room.is_alive()
        server.start()
        room.join(20)
        assert not room.is_alive()
        until(lambda: memory.num_acknowledged == memory.num_blocks)


def test_a_full_server_takes_blocks_again_when_it_has_room(server):
    with memory_of(server.url) as memory, server.client() as client:
        append(memory, 2)
        client.config_set("maxmemory", 1)
        append(memory, 2)
        assert "is full (maxmemory)" in memory.away
        assert memory.num_acknowledged == 2
        client.config_set("maxmemory", 0)
        until(lambda: memory.num_acknowledged == 4)


def test_a_server_that_came_back_empty_is_told_and_nothing_is_made_up(server):
    memory = memory_of(server.url)
    append(memory, 3)
    reader = follow_memory(MemoryConfig(store=server.url), "camera", CPU)
    with server.client() as client:
        client.flushall()
    with pytest.raises(StoreError, match="came back without this stream; run it with appendonly"):
        append(memory, 1)
    with pytest.raises(StoreError, match="is gone"):
        reader.refresh()
    reader.close()
    memory.close()


def test_a_server_that_would_throw_blocks_away_is_refused(server):
    with server.client() as client:
        client.config_set("maxmemory", 1 << 30)
        client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreError, match=r"allkeys-lru.*set it to noeviction"):
        memory_of(server.url)


def test_a_wrong_password_is_told_without_showing_it(tmp_path):
    server = RedisServer(valkey_binary(), tmp_path, "--requirepass", "right")
    try:
        for secret in ("", ":wrong@"):
            url = server.url.replace("redis://", f"redis://{secret}")
            with pytest.raises(StoreError, match="refuses the user or password") as raised:
                memory_of(url)
            assert "wrong@" not in str(raised.value)
        with memory_of(server.url.replace("redis://", "redis://:right@")) as memory:
            append(memory, 1)
    finally:
        server.kill()


def test_a_server_behind_a_unix_socket_is_a_store(tmp_path):
    server = RedisServer(valkey_binary(), tmp_path, "--unixsocket", str(tmp_path / "socket"))
    try:
        with memory_of(f"unix://{tmp_path}/socket?db=1") as memory:
            append(memory, 3)
        with memory_of(f"unix://{tmp_path}/socket?db=1") as memory:
            assert memory.visible(None) == [0, 1, 2]
    finally:
        server.kill()


def test_the_budget_holds_however_long_it_goes_on_and_after_an_outage(server):
    budget_bytes = 1 << 20
    with server.client() as client, with_budget(server.url, budget_bytes) as memory:
        for number in range(900):
            if number == 500:
                server.kill()
            if number == 520:
                server.start()
                until(lambda: memory.stats().waiting == 0)
            append(memory, 1)
            if number % 100 == 99:
                assert int(client.hget(KEYS.meta, "bytes")) <= budget_bytes
                assert memory.stats().bytes_by_tier["redis"] <= budget_bytes
        stats = memory.stats()
        assert stats.ageing.coarsened
        assert stats.ageing.thinned
        assert memory.num_blocks == 900
        everything = kept(memory)
        blocks = client.keys("*block*")
        assert len(blocks) == stats.blocks
        stored_bytes = sum(client.memory_usage(key, samples=0) for key in [*blocks, KEYS.table])
        assert stored_bytes < 1.5 * budget_bytes
    with with_budget(server.url, budget_bytes) as memory:
        assert same(kept(memory), everything)


def test_a_budget_smaller_than_what_must_stay_is_told(server):
    config = MemoryConfig(store=server.url, redis_bytes=1 << 20)
    told = r"cannot hold the newest 4 blocks.*raise the budget"
    with open_memory(
        config, "camera", "model-a", 2, 8, 64, CPU, policy=keeping_newest(4)
    ) as memory:
        with pytest.raises(StoreError, match=told):
            append_large(memory, 9)
        assert memory.stats().bytes_by_tier["redis"] <= 1 << 20


def test_forgotten_blocks_are_nowhere_on_the_server(redis_server):
    with memory_of(redis_server.url) as memory:
        append(memory, 6)
    with open_stored(MemoryConfig(store=redis_server.url), "camera") as memory:
        assert memory.forget(2.0, 3.0) == 2
        assert memory.visible(None) == [0, 1, 4, 5]
    with redis_server.client() as client:
        dump = b"".join(client.dump(key) for key in client.keys("*"))
    assert b"picture 1" in dump
    assert b"picture 2" not in dump
    assert b"picture 3" not in dump


def test_a_reader_that_was_long_away_reads_the_whole_table_again(redis_server):
    with memory_of(redis_server.url) as memory, redis_server.client() as client:
        append(memory, 2)
        reader = follow_memory(MemoryConfig(store=redis_server.url), "camera", CPU)
        append(memory, 6)
        memory.forget(1.0, 1.0)
        client.xtrim(KEYS.log, maxlen=2, approximate=False)
        reader.refresh()
        assert same(kept(reader), kept(memory))
        reader.close()
