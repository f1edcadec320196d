"""What a server carried out without saying so, took back, or forgot: nothing is lost unnoticed."""

import threading
import time
from itertools import chain

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, keeping_newest, kv_block, memory_of
from processes import until
from redis import TimeoutError

from memory import (
    FencedError,
    MemoryConfig,
    StoreAwayError,
    StoreError,
    StreamReplacedError,
    follow_memory,
    open_memory,
)
from memory.tiers.redis.redis_keys import RedisKeys
from memory.tiers.redis.redis_tier import RedisTier

pytestmark = pytest.mark.timeout(400)

KEYS = RedisKeys("camera")
NEVER = threading.Event()
NUM, BUDGET = 120, 1 << 20


class LostReplies:
    """Stands between a tier and its script: replies get lost, of scripts that ran or did not."""

    def __init__(self, memory):
        self._tier = memory._store
        self._enter = self._tier._enter
        self._tier._enter = self
        self.plan = []

    def __call__(self, **arguments):
        fate = self.plan.pop(0) if self.plan else "replied"
        if fate == "not sent":
            raise TimeoutError("not sent")
        reply = self._enter(**arguments)
        if fate == "reply lost":
            raise TimeoutError("reply lost")
        return reply


def followed(server):
    return follow_memory(MemoryConfig(store=server.url), "camera", CPU)


def contents(memory):
    """All that can be read of a memory: ids, times, pictures, keys and values by layer."""
    ids = memory.visible(None)
    rows = [memory.read(layer, ids, torch.float32, CPU) for layer in range(LAYERS)]
    return ids, [memory.info(i).end_s for i in ids], memory.thumbnails(ids), rows


def same(one, other):
    return one[:3] == other[:3] and all(
        torch.equal(a, b) for a, b in zip(chain(*one[3]), chain(*other[3]), strict=True)
    )


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """What waits is handed over without delay."""
    monkeypatch.setattr("memory.tiers.redis.redis_worker.BEAT_S", 0.02)


def append(memory, num_blocks=1, tokens=20):
    for _ in range(num_blocks):
        number = memory.num_blocks
        memory.settle()
        memory.wait_for_room(1, NEVER)
        memory.append(kv_block(tokens=tokens, end_s=float(number), seed=number))


def drained(memory):
    for _ in range(50):
        try:
            memory.flush()
        except StoreAwayError:
            continue
        return
    raise AssertionError("what waits does not become less")


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    fates=st.lists(st.sampled_from(["replied", "reply lost", "not sent"]), max_size=60),
    forget=st.integers(0, 30),
)
def test_whatever_replies_get_lost_the_store_holds_what_the_writer_has(
    running_valkey, fates, forget
):
    with running_valkey.client() as client:
        client.flushall()
    config = MemoryConfig(store=running_valkey.url, redis_bytes=BUDGET, host_bytes=BUDGET)
    make = ("camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU)
    with open_memory(config, *make, policy=keeping_newest(4)) as memory:
        lost = LostReplies(memory)
        for number in range(NUM):
            if number % 4 == 0 and fates:  # often enough that ageing is hit, too
                lost.plan = fates[number // 4 :][:3]
            append(memory, tokens=100)
            if number == NUM // 2 + forget:
                drained(memory)
                lost.plan = fates[:2]
                try:
                    memory.forget(NUM / 2 - 10, NUM / 2 - 5)
                except StoreAwayError:
                    memory.settle()
        lost.plan = []
        drained(memory)
        assert memory.num_acknowledged == memory.num_blocks == NUM
        told = memory.stats()
        assert told.bytes_by_tier["redis"] <= BUDGET
        assert told.ageing.coarsened
        own = contents(memory)
        with followed(running_valkey) as reader:
            assert same(contents(reader), own)
    with running_valkey.client() as client:
        placed = {key for key in client.keys("*block*") if client.ttl(key) == -1}
        assert len(placed) == len(own[0])
    with open_memory(config, *make, policy=keeping_newest(4)) as memory:
        assert same(contents(memory), own)


def test_a_block_whose_reply_was_lost_is_there_once(valkey_server):
    with memory_of(valkey_server.url) as memory:
        lost = LostReplies(memory)
        append(memory, 2)
        lost.plan = ["reply lost"]
        append(memory, 3)
        drained(memory)
        with followed(valkey_server) as reader:
            assert same(contents(reader), contents(memory))


@pytest.mark.parametrize("fate", ["not sent", "reply lost"])
@pytest.mark.parametrize("num_waiting", [0, 2])
def test_a_stream_whose_blocks_were_not_let_go_is_not_away_for_good(
    valkey_server, fate, num_waiting
):
    """Also if nothing more is ever appended, as to a camera that is paused."""
    with memory_of(valkey_server.url) as memory:
        append(memory, 4)
        replies = LostReplies(memory)
        replies.plan = [fate]
        with pytest.raises(StoreAwayError):
            memory.forget(0.0, 1.0)
        replies.plan = ["not sent"] * num_waiting
        for _ in range(num_waiting):
            number = memory.num_blocks
            memory.append(kv_block(tokens=20, end_s=float(number), seed=number))
        until(lambda: memory.away is None)
        memory.forget(0.0, 1.0)
        left = [float(number) for number in range(2, 4 + num_waiting)]
        assert [memory.info(i).end_s for i in memory.visible(None)] == left


def test_a_server_that_came_back_older_is_told(valkey_server):
    with memory_of(valkey_server.url) as memory, valkey_server.client() as client:
        append(memory, 3)
        older = {key: client.dump(key) for key in (KEYS.meta, KEYS.table)}
        append(memory, 2)
        for key, value in older.items():
            client.restore(key, 0, value, replace=True)
        with pytest.raises(StoreError, match="came back without the newest blocks; start again"):
            append(memory)
        assert memory.failure is not None
    with memory_of(valkey_server.url) as memory:
        assert memory.visible(None) == [0, 1, 2]
        append(memory)


def test_a_server_that_forgot_everything_takes_nothing_from_an_earlier_writer(valkey_server):
    first = memory_of(valkey_server.url)
    append(first, 3)
    with valkey_server.client() as client:
        client.flushall()
    with memory_of(valkey_server.url) as second:
        append(second, 2)
        with pytest.raises((FencedError, StoreError)):
            append(first)
        with followed(valkey_server) as reader:
            assert reader.visible(None) == [0, 1]
            assert same(contents(reader), contents(second))
    first.close()


def test_a_reader_is_told_that_the_stream_has_a_new_writer(valkey_server):
    with memory_of(valkey_server.url) as memory:
        append(memory, 2)
        reader = followed(valkey_server)
    with memory_of(valkey_server.url) as memory:
        append(memory)
        with pytest.raises(StreamReplacedError, match="open it again"):
            reader.refresh()
    reader.close()


def test_a_scan_that_runs_into_new_blocks_leaves_them_for_later(valkey_server):
    with memory_of(valkey_server.url) as memory, valkey_server.client() as client:
        append(memory, 6)
        client.hset(KEYS.meta, mapping={"next_id": 4, "version": 4})
        with followed(valkey_server) as reader:
            assert reader.visible(None) == [0, 1, 2, 3]
            client.hset(KEYS.meta, mapping={"next_id": 6, "version": 6})
            reader.refresh()
            assert same(contents(reader), contents(memory))


def test_a_block_that_is_encoded_anew_while_a_question_reads_is_read_as_it_is(valkey_server):
    config = MemoryConfig(store=valkey_server.url, redis_bytes=1 << 20)
    make = ("camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU)
    with open_memory(config, *make, policy=keeping_newest(4)) as memory:
        append(memory, 30)
        with followed(valkey_server) as reader, followed(valkey_server) as looking:
            ids = reader.visible(None)
            reader.read(0, ids[:3], torch.float32, CPU)
            while not memory.stats().ageing.coarsened:
                append(memory, 10)
            ours, theirs = (m.read(1, ids[:3], torch.float32, CPU) for m in (reader, memory))
            assert all(map(torch.equal, ours, theirs))
            assert looking.thumbnails(ids[:3]) == memory.thumbnails(ids[:3])


@pytest.mark.parametrize("setting", ["min-replicas-to-write"])
def test_a_server_that_refuses_for_now_is_waited_for(valkey_server, setting):
    with memory_of(valkey_server.url) as memory, valkey_server.client() as client:
        append(memory)
        client.config_set(setting, 1)
        append(memory, 2)
        assert memory.num_acknowledged == 1
        assert "accepts no writes for now" in memory.away
        client.config_set(setting, 0)
        drained(memory)
        assert memory.num_acknowledged == 3


def test_a_small_budget_lets_a_whole_chunk_wait(valkey_server):
    config = MemoryConfig(store=valkey_server.url, redis_bytes=4 << 20)
    with open_memory(
        config, "camera", "model-a", 2, 8, 64, CPU, policy=keeping_newest(4)
    ) as memory:
        lost = LostReplies(memory)
        for number in range(64):
            if number % 8 == 0:
                memory.settle()
                memory.wait_for_room(8, NEVER)
            if number == 40:
                lost.plan = ["not sent"] * 4
            memory.append(kv_block(50, float(number), number, kv_heads=8, head_dim=64))
        drained(memory)
        assert memory.stats().bytes_by_tier["redis"] <= 4 << 20


def test_no_number_is_given_twice_while_the_lease_hands_over_what_waited(
    running_valkey, monkeypatch
):
    with running_valkey.client() as client:
        client.flushall()
    came = threading.Event()

    def set_next_id(tier, value):
        """The thread that hands over is held up until another block has come."""
        if threading.current_thread().name == "after lease":
            came.clear()
            came.wait(1.0)
        tier.__dict__["next_id_there"] = value
        came.set()

    next_id = property(lambda tier: tier.__dict__["next_id_there"], set_next_id)
    monkeypatch.setattr(RedisTier, "next_id", next_id, raising=False)
    with memory_of(running_valkey.url) as memory:
        lost = LostReplies(memory)
        for number in range(40):
            if number % 4 == 0:
                lost.plan = ["not sent"]
            assert memory.num_blocks == number
            append(memory)
            time.sleep(0.01)
        drained(memory)
        assert memory.visible(None) == list(range(40))
        with followed(running_valkey) as reader:
            assert same(contents(reader), contents(memory))
