"""Who writes a stream in Redis: one process at a time, whatever stops, wakes and takes."""

import time
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from kv_blocks import CPU, kv_block, memory_of
from processes import until
from redis_workers import WriterProcess, is_refused

from memory import FencedError, MemoryConfig, StoreError, find_stream, follow_memory, writer_name
from memory.tiers.redis import redis_stream, redis_worker
from memory.tiers.redis.redis_keys import RedisKeys

KEYS = RedisKeys("camera")
OLD_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder then return {0, holder} end
local fence = redis.call('HINCRBY', KEYS[2], 'fences', 1) .. '.' .. ARGV[3]
redis.call('HSET', KEYS[2], 'fence', fence)
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {fence, ARGV[1]}
"""
"""As earlier versions took a stream."""


def append(memory, num_blocks=1):
    for _ in range(num_blocks):
        number = memory.num_blocks
        memory.append(kv_block(tokens=2, end_s=float(number), seed=number))


def pictures(memory):
    return memory.thumbnails(memory.visible(None))


@pytest.fixture
def still(monkeypatch):
    """Nothing is renewed but by `wake`, nothing runs out but by `oversleep`, nobody waits."""
    monkeypatch.setattr(redis_worker, "BEAT_S", 1000.0)
    monkeypatch.setattr(redis_worker, "LEASE_S", 1000.0)
    monkeypatch.setattr(redis_stream, "PATIENCE_S", 0.0)


@pytest.fixture
def two(valkey_server, still):
    return WriterProcess(valkey_server), WriterProcess(valkey_server)


def test_a_writer_that_wakes_after_it_was_replaced_has_every_write_refused(two):
    one, other = two
    old = one.open()
    append(old, 3)
    with pytest.raises(StoreError, match=f"is being written by {writer_name()}; stop that first"):
        other.open()
    one.oversleep()
    new = other.open()
    assert new.visible(None) == [0, 1, 2]
    writes = (
        lambda: append(old),
        lambda: old.forget(0.0, 0.0),
        lambda: old.set_note({"seen": 1}),
        lambda: old._store.note({"seen": b"1"}),
        lambda: old._entry.erase(),
    )
    for write in writes:
        old._entry.failure = None  # as if it had not been told yet
        assert is_refused(write)
    assert pictures(new) == [f"picture {number}".encode() for number in range(3)]
    append(new, 2)
    other.close(new)
    one.close(old)


def test_one_that_wakes_learns_at_once_that_it_was_replaced_though_it_writes_nothing(two):
    one, other = two
    taken, kept = one.open(), one.open("door")
    one.oversleep()
    new = other.open()
    assert taken.failure is None
    one.wake()
    assert isinstance(taken.failure, FencedError)
    assert kept.failure is None
    append(kept)
    other.close(new)
    one.close(kept)
    one.close(taken)


def test_a_writer_that_comes_back_while_it_is_being_replaced_loses_no_block(two, monkeypatch):
    one, other = two
    old = one.open()
    append(old, 2)
    one.oversleep()
    look = redis_stream.living_writers

    def comes_back(link, leases):
        found = look(link, leases)
        one.wake()
        append(old)
        return found

    monkeypatch.setattr(redis_stream, "living_writers", comes_back)
    new = other.open()
    assert new.visible(None) == [0, 1, 2]
    assert is_refused(lambda: append(old))
    other.close(new)


def test_of_two_that_take_a_stream_at_once_one_gets_it(two, valkey_server, monkeypatch):
    dead, late = two
    dead.open()
    dead.oversleep()
    quick = WriterProcess(valkey_server)
    look, won = redis_stream.living_writers, []

    def is_outrun(link, leases):
        found = look(link, leases)
        monkeypatch.setattr(redis_stream, "living_writers", look)
        won.append(quick.open())
        return found

    monkeypatch.setattr(redis_stream, "living_writers", is_outrun)
    with pytest.raises(StoreError, match="is being written by"):
        late.open()
    append(won[0])
    quick.close(won[0])


def test_a_lease_that_could_not_be_given_back_is_so_later(two, valkey_server, monkeypatch):
    one, other = two
    kept, released = one.open("door"), one.open()
    give_back = one.worker._give_back

    def is_away(**arguments):
        raise redis_stream.StoreAwayError("away")

    monkeypatch.setattr(one.worker, "_give_back", is_away)
    one.close(released)
    with pytest.raises(StoreError, match="is being written by"):
        other.open()
    monkeypatch.setattr(one.worker, "_give_back", give_back)
    one.worker._give_back_owed()
    other.close(other.open())
    one.close(kept)


def test_renewals_do_not_grow_with_the_streams(valkey_server, monkeypatch):
    monkeypatch.setattr(redis_worker, "BEAT_S", 0.02)
    process = WriterProcess(valkey_server)
    opened = [process.open(f"s{number}") for number in range(20)]
    with valkey_server.client() as client:

        def calls():
            told = client.info("commandstats")
            return {name: told.get(f"cmdstat_{name}", {}).get("calls", 0) for name in COMMANDS}

        client.config_resetstat()
        until(lambda: calls()["set"] >= 5)
        told = calls()
    assert told["evalsha"] == told["get"] == 0
    for memory in opened:
        process.close(memory)
    with valkey_server.client() as client:
        assert not client.keys("vstream:worker:*")
        assert not client.keys("*lease")


COMMANDS = ("set", "get", "evalsha")


def test_a_process_that_died_leaves_all_its_streams_at_once(valkey_server, monkeypatch):
    monkeypatch.setattr(redis_worker, "LEASE_S", 0.5)
    monkeypatch.setattr(redis_worker, "BEAT_S", 0.1)
    dead, other = WriterProcess(valkey_server), WriterProcess(valkey_server)
    for name in ("door", "yard"):
        append(dead.open(name), 2)
    states = [find_stream(valkey_server.url, name) for name in ("door", "yard")]
    assert [(one.state, one.writer) for one in states] == [("live", writer_name())] * 2
    dead.die()
    until(lambda: find_stream(valkey_server.url, "yard").state == "stored")
    begun = time.monotonic()
    for name in ("door", "yard"):
        memory = other.open(name)
        assert memory.visible(None) == [0, 1]
        other.close(memory)
    assert time.monotonic() - begun < redis_worker.LEASE_S + 2


def test_a_lease_of_an_earlier_version_is_honoured(two, valkey_server):
    one, _ = two
    with valkey_server.client() as client:
        with memory_of(valkey_server.url) as memory:
            append(memory, 2)
        client.register_script(OLD_TAKE)(
            keys=[KEYS.lease, KEYS.meta], args=["elsewhere:1", 60_000, "abcd"]
        )
        found = find_stream(valkey_server.url, "camera")
        assert (found.state, found.writer) == ("live", "elsewhere:1")
        with pytest.raises(StoreError, match="is being written by elsewhere:1"):
            one.open()
        client.delete(KEYS.lease)  # as when it runs out
        memory = one.open()
        assert memory.visible(None) == [0, 1]
        one.close(memory)


def test_an_earlier_version_takes_no_stream_of_this_one(two, valkey_server):
    """It looks at the lease alone, and reads all else of a stream as before."""
    one, _ = two
    memory = one.open()
    append(memory)
    with valkey_server.client() as client:
        take = client.register_script(OLD_TAKE)
        args = ["elsewhere:1", 3000, "abcd"]
        fence, holder = take(keys=[KEYS.lease, KEYS.meta], args=args)
        assert not fence
        assert holder.decode().partition(" ")[2].startswith(writer_name())
        assert client.ttl(KEYS.lease) == -1
        described = client.hmget(KEYS.meta, "make", "note", "format_version", "fence", "next_id")
        assert None not in described
        one.close(memory)
        fence, holder = take(keys=[KEYS.lease, KEYS.meta], args=args)
        assert (fence.split(b".")[1], holder) == (b"abcd", b"elsewhere:1")


class Writers(RuleBasedStateMachine):
    """Three processes at two streams. A block that was acknowledged is there for every later
    writer, and only who took a stream last writes it.
    """

    server = None
    processes = st.integers(0, 2)
    streams = st.sampled_from(["camera", "door"])

    def __init__(self):
        super().__init__()
        with self.server.client() as client:
            client.flushall()
        self.process = [WriterProcess(self.server) for _ in range(3)]
        self.is_awake = [True] * 3
        self.opened = {}
        self.writer = {}
        """By stream, who took it last and has not given it back."""
        self.kept = {"camera": [], "door": []}
        self.num_blocks = 0

    @rule(who=processes, name=streams)
    def take(self, who, name):
        if (who, name) in self.opened:
            return
        writer = self.writer.get(name)
        self.is_awake[who] = True
        if writer is not None and self.is_awake[writer]:
            with pytest.raises(StoreError, match="is being written by"):
                self.process[who].open(name)
            return
        memory = self.opened[who, name] = self.process[who].open(name)
        self.writer[name] = who
        assert pictures(memory) == self.kept[name]

    @rule(who=processes, name=streams)
    def append(self, who, name):
        self.write(who, name, self.append_one)

    @rule(who=processes, name=streams)
    def forget(self, who, name):
        self.write(who, name, self.forget_first)

    @rule(who=processes, name=streams)
    def note(self, who, name):
        self.write(who, name, lambda memory, name: memory.set_note({"by": who}))

    @rule(who=processes)
    def oversleep(self, who):
        if self.process[who].worker is not None:
            self.process[who].oversleep()
            self.is_awake[who] = False

    @rule(who=processes)
    def wake(self, who):
        if self.process[who].worker is None:
            return
        self.process[who].wake()
        self.is_awake[who] = True
        for (one, name), memory in self.opened.items():
            if one == who:
                assert (memory.failure is None) == (self.writer.get(name) == who)

    @rule(who=processes, name=streams)
    def release(self, who, name):
        memory = self.opened.pop((who, name), None)
        if memory is None:
            return
        with suppress(FencedError):
            self.process[who].close(memory)
        if self.writer.get(name) == who:
            del self.writer[name]

    def write(self, who, name, write):
        memory = self.opened.get((who, name))
        if memory is not None:
            is_writer = self.writer.get(name) == who
            assert is_refused(lambda: write(memory, name)) != is_writer

    def append_one(self, memory, name):
        self.num_blocks += 1
        newest_s = memory.newest_s + 1.0
        memory.append(kv_block(tokens=2, end_s=newest_s, seed=self.num_blocks))
        assert memory.num_acknowledged == memory.num_blocks
        self.kept[name].append(f"picture {self.num_blocks}".encode())

    def forget_first(self, memory, name):
        first = next(iter(memory.visible(None)), None)
        if first is None:
            memory.set_note({"by": "who has nothing to forget"})  # a write as well
            return
        at_s = memory.info(first).end_s
        memory.forget(at_s, at_s)
        del self.kept[name][0]

    @invariant()
    def all_that_was_acknowledged_is_there(self):
        for name, kept in self.kept.items():
            if kept:
                with follow_memory(MemoryConfig(store=self.server.url), name, CPU) as reader:
                    assert pictures(reader) == kept

    def teardown(self):
        for who, name in list(self.opened):
            self.release(who, name)


def test_whatever_stops_and_wakes_one_process_writes_and_nothing_is_lost(running_valkey, still):
    Writers.server = running_valkey
    wanted = settings(
        max_examples=20, stateful_step_count=25, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Writers, settings=wanted)
