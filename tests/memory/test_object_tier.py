"""What the object tier adds: who writes is fenced, what is acknowledged outlives the machine."""

import json
import os
import re
import shutil
import signal
import sys
import time
from contextlib import closing

import pytest
import torch
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block, memory_of
from processes import Process, until

from memory import (
    FencedError,
    MemoryConfig,
    StoreAwayError,
    StoreError,
    StreamReplacedError,
    find_stream,
    follow_memory,
    open_memory,
    repair_stored,
    stored_streams,
    tier_of,
    verify_stored,
)
from memory.tiers.file.whole_files import checked
from memory.tiers.object import object_stream, object_tier
from memory.tiers.object.manifest import manifest_name, read_manifest
from memory.tiers.object.object_link import ObjectLink, TagRefusedError

SMALL = {"segment_bytes": 1 << 16}


@pytest.fixture(params=["object", "s3"])
def url(request):
    return request.getfixturevalue(f"{request.param}_server").url


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch):
    monkeypatch.setattr(object_stream, "LEASE_S", 1.5)
    monkeypatch.setattr(object_stream, "BEAT_S", 0.3)


def opened(url, **settings):
    config = MemoryConfig(store=url, **SMALL, **settings)
    return open_memory(config, "camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU)


def elsewhere(url):
    """The same store as another machine sees it."""
    return url.replace("/open", "/far")


def appended(memory, num_blocks):
    for _ in range(num_blocks):
        number = memory.num_blocks
        memory.append(kv_block(end_s=float(number), seed=number))


def require_blocks(memory, count):
    assert memory.visible(None) == list(range(count))
    with memory_of(host_bytes=1 << 26) as ram:
        appended(ram, count)
        for layer in range(LAYERS):
            ours, theirs = (m.read(layer, range(count), torch.float32, CPU) for m in (memory, ram))
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def objects(url):
    with closing(ObjectLink(url)) as link:
        return link.names("blocks")


def test_a_replaced_writer_is_refused_and_says_so(url, monkeypatch):
    old = opened(url)
    appended(old, 3)
    monkeypatch.setattr(object_stream.ObjectStream, "_wait_for_lease", lambda *_: None)
    with opened(elsewhere(url)) as new:
        appended(new, 2)
        with pytest.raises(FencedError, match="writes stream camera now; this one stops"):
            old.set_note({"who": "old"})
        with pytest.raises(FencedError):
            appended(old, 1)
        new.set_note({"who": "new"})
        old.close()
        appended(new, 1)
    assert find_stream(url, "camera").note == {"who": "new"}
    with opened(elsewhere(url)) as memory:
        require_blocks(memory, 3)


def test_a_second_writer_is_refused_while_the_first_lives(url):
    with opened(url) as first:
        appended(first, 1)
        with pytest.raises(StoreError, match="is being written by"):
            opened(elsewhere(url))
        assert stored_streams(url)[0].state == "live"
        appended(first, 1)
    with opened(elsewhere(url)) as second:  # at once: the lease was given back
        require_blocks(second, 2)


def test_readers_of_other_machines_see_what_is_sealed_and_with_replicated_the_rest(url):
    for ack, seen in (("local", 0), ("replicated", 150)):
        with opened(url, ack=ack) as writer:
            appended(writer, 150 - writer.num_blocks)
            writer.flush()
            config = MemoryConfig(store=elsewhere(url))
            with follow_memory(config, "camera", CPU) as reader:
                assert len(reader.visible(None)) >= seen
                if seen:
                    require_blocks(reader, 150)
                    appended(writer, 200)
                    writer.flush()
                    reader.refresh()
                    require_blocks(reader, 350)
                assert reader.stats().bytes_by_tier["object"]
        with follow_memory(config, "camera", CPU) as reader:
            require_blocks(reader, writer.num_blocks)


def test_a_reader_of_a_stream_with_a_new_writer_must_open_it_again(url):
    with opened(url) as memory:
        appended(memory, 2)
    with follow_memory(MemoryConfig(store=url), "camera", CPU) as reader:
        opened(url).close()
        with pytest.raises(StreamReplacedError, match="open it again"):
            reader.refresh()


def test_what_the_policy_noted_is_there_on_another_machine(url):
    with opened(url, ack="replicated") as writer:
        appended(writer, 2)
        writer.note_state({"sum": b"2", "gone": b"x"})
        writer.flush()
        with follow_memory(MemoryConfig(store=elsewhere(url)), "camera", CPU) as reader:
            assert reader.state == {"sum": b"2", "gone": b"x"}
            writer.note_state({"gone": None})
            appended(writer, 1)
            writer.flush()
            reader.refresh()
            assert reader.state == {"sum": b"2"}
    with opened(elsewhere(url)) as memory:
        assert memory.state == {"sum": b"2"}


def test_what_is_forgotten_is_in_no_object(url):
    with opened(url, ack="replicated") as memory:
        for number in range(30):
            block = kv_block(end_s=float(number), seed=number)
            memory.append(block)
        memory.flush()
        memory.forget(10.0, 20.0)
        with closing(ObjectLink(url)) as link:
            everything = b"".join(link.read(name)[0] for name in link.names("blocks"))
        for number in range(30):
            is_gone = 10 <= number <= 20
            assert (f"picture {number}".encode() not in everything) == is_gone or number < 10
        memory.erase()
    assert objects(url) == []
    assert find_stream(url, "camera") is None


def test_objects_that_a_dying_writer_left_are_swept(url):
    with opened(url) as memory:
        appended(memory, 3)
        name = memory._store._stream.blocks_name(f"000000000099-000000.{'0' * 8}-dead.vskv")
        memory._store.link.write(name, b"of nobody")
    opened(url).close()
    assert name not in objects(url)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_reply_that_is_lost_is_found_out(url, monkeypatch, is_there):
    """Of a change of the manifest, whether the store has made it or not."""
    swap = ObjectLink.swap
    with opened(url) as memory:
        appended(memory, 130)
        memory._store.close_span()

        def lost(link, name, data, tag):
            monkeypatch.setattr(ObjectLink, "swap", swap)
            if is_there:
                swap(link, name, data, tag)
            raise StoreAwayError("no reply")

        stream = memory._store._stream
        until(lambda: stream.manifest.end == 130)
        with stream.lock:
            monkeypatch.setattr(ObjectLink, "swap", lost)
        with pytest.raises(StoreAwayError):
            memory.forget(0.0, 3.0)
        memory.settle()
        gone = 130 - len(memory.visible(None))
        assert gone == (4 if is_there else 0) or not is_there
        memory.forget(0.0, 3.0)
        assert memory.visible(None) == list(range(4, 130))
        appended(memory, 1)
    with opened(url) as memory:
        assert memory.visible(None) == list(range(4, 131))


def test_a_write_that_comes_late_is_refused(url):
    with closing(ObjectLink(url)) as link:
        first = link.swap("streams/x.json", b"1", None)
        second = link.swap("streams/x.json", b"2", first)
        for tag in (None, first):
            with pytest.raises(TagRefusedError):
                link.swap("streams/x.json", b"late", tag)
        assert link.read("streams/x.json") == (b"2", second)
        assert link.read("streams/x.json", unless=second) is None


def test_while_the_store_is_away_blocks_wait_in_files(url, monkeypatch):
    write = ObjectLink.write

    def away(link, name, data):
        raise StoreAwayError("nobody there")

    with opened(url, ack="replicated") as memory:
        appended(memory, 2)
        memory.flush()
        monkeypatch.setattr(ObjectLink, "write", away)
        monkeypatch.setattr(object_tier, "PATIENCE_S", 0.2)
        appended(memory, 300)
        assert memory.num_acknowledged == 2
        with pytest.raises(StoreAwayError, match=r"nobody there|wait"):
            memory.flush()
        until(lambda: memory.away)
        require_blocks(memory, 302)
        monkeypatch.setattr(ObjectLink, "write", write)
        until(lambda: memory.num_acknowledged == 302)


def test_a_damaged_snapshot_costs_time_and_a_missing_segment_its_blocks(url, capsys):
    def verified():
        (report,) = verify_stored(url)
        return report

    with opened(url) as memory:
        appended(memory, 250)
    assert (verified().blocks, verified().faults) == (250, ())
    found = {name for name in objects(url) if name.endswith(".index")}
    with closing(ObjectLink(url)) as link:
        for name in found:
            data = bytearray(link.read(name)[0])
            data[len(data) // 2] ^= 1
            link.write(name, bytes(data))
    assert (verified().blocks, verified().lost, len(verified().faults)) == (250, 0, len(found))
    with opened(url) as memory:
        require_blocks(memory, 250)
    first = min(found)
    with closing(ObjectLink(url)) as link:
        link.delete([first, first.replace(".index", ".vskv")])
    assert 0 < verified().lost == 250 - verified().blocks
    with pytest.raises(StoreError, match="cannot be repaired"):
        repair_stored(url, "camera")
    with opened(url) as memory:
        assert memory.visible(None)[-1] == 249
        assert 0 < len(memory.visible(None)) < 250
        assert memory.stats().lost == 250 - len(memory.visible(None))
    assert "a store is damaged" in capsys.readouterr().out
    with follow_memory(MemoryConfig(store=url), "camera", CPU) as reader:
        assert reader.visible(None)[-1] == 249


def test_opening_reads_no_segment(url, monkeypatch):
    with opened(url) as memory:
        appended(memory, 250)
    read, names = ObjectLink.read, []

    def told(link, name, unless=None):
        names.append(name)
        return read(link, name, unless)

    monkeypatch.setattr(ObjectLink, "read", told)
    monkeypatch.setattr(ObjectLink, "ranges", None)
    with opened(url) as memory:
        assert len(memory.visible(None)) == 250
    assert not [name for name in names if name.endswith(".vskv")]


WRITER = """
import sys, time
sys.path.append(sys.argv[2])
from kv_blocks import *
from memory.tiers.object import object_stream
object_stream.LEASE_S, object_stream.BEAT_S = 1.5, 0.3
config = MemoryConfig(store=sys.argv[1], ack=sys.argv[3], segment_bytes=1 << 16)
memory = open_memory(config, "camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU)
print("opened", memory.num_blocks, flush=True)
told = -1
while True:
    number = memory.num_blocks
    memory.append(kv_block(end_s=float(number), seed=number))
    time.sleep(0.002)
    if memory.num_acknowledged != told:
        told = memory.num_acknowledged
        print("acknowledged", told, flush=True)
"""


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("ack", ["local", "replicated"])
def test_what_is_acknowledged_outlives_the_process_and_replicated_the_machine(request, url, ack):
    """A quarter of all `--kills`. With `replicated` each writer has a machine of its own; every
    fifth of them is only stopped, and wakes up once another has replaced it.
    """
    kills = max(2, request.config.getoption("--kills") // 4)
    store, _, folder = url.partition("?local=")
    acknowledged = num_refused = 0
    stopped = None

    def begun(number):
        """A writer that goes on behind all that was acknowledged."""
        machine = f"{folder}/{number if ack == 'replicated' else 'one'}"
        support = os.path.dirname(sys.modules["kv_blocks"].__file__)
        process = Process(WRITER, f"{store}?local={machine}", support, ack, module="-c")
        until(lambda: _told(process, "opened") >= 0, 120)
        return process, machine, _told(process, "opened")

    for number in range(kills):
        process, machine, opened_with = begun(number)
        assert opened_with >= acknowledged
        if stopped is not None:
            stopped.send(signal.SIGCONT)
            assert stopped.wait() == 1
            assert "FencedError" in stopped.err[-1]
            assert _told(stopped) <= opened_with
            stopped, num_refused = None, num_refused + 1
        until(lambda: _told(process) > opened_with + 20, 120)  # noqa: B023
        time.sleep(0.05 * (number % 5))
        if ack == "replicated" and number % 5 == 0:
            process.send(signal.SIGSTOP)
            stopped = process
        else:
            process.kill()
            if ack == "replicated":
                shutil.rmtree(machine)
        acknowledged = _told(process)
    with opened(f"{store}?local={machine}") as memory:
        assert memory.num_blocks >= acknowledged
        require_blocks(memory, memory.num_blocks)
    told = f"{kills} kills, {num_refused} writers refused, {acknowledged} blocks"
    sys.stdout.write(f"\n{store.partition(':')[0]} {ack}: {told}\n")


def _told(process, what="acknowledged"):
    told = [re.fullmatch(rf"{what} (\d+)\n", line) for line in list(process.out)]
    return max((int(line[1]) for line in told if line), default=-1)


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("s3://", "not an address of an object store"),
        ("s3://key:secret@bucket/streams", "not an address of an object store"),
        ("object://streams", "not an address of an object store"),
        ("object:///streams?region=x", "only local=/DIR"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_its_secret(store, told):
    with pytest.raises(StoreError, match=told) as failure:
        tier_of(store).ids()
    assert "secret" not in str(failure.value)


def test_an_endpoint_that_is_away_is_told_without_keys(s3_server, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with pytest.raises(StoreAwayError, match=r"s3://bucket: is away") as failure:
        tier_of(f"s3://bucket?local={tmp_path}").ids()
    assert "hush" not in str(failure.value)


def test_a_manifest_of_a_newer_version_is_refused(url):
    opened(url).close()
    with closing(ObjectLink(url)) as link:
        data, tag = link.read(manifest_name("camera"))
        manifest = json.loads(data)
        manifest.pop("crc32")
        manifest["format_version"] += 1
        link.swap(manifest_name("camera"), checked(manifest).encode(), tag)
        with pytest.raises(StoreError, match="open it with the newer vstream"):
            read_manifest(link, "camera")


def test_it_says_whether_the_store_keeps_two_writers_apart(url, monkeypatch):
    assert "can be written" in tier_of(url).check()
    with closing(ObjectLink(url)) as link:
        assert link.names("checks") == []
    swap = ObjectLink.swap
    monkeypatch.setattr(
        ObjectLink,
        "swap",
        lambda self, name, data, tag: swap(self, name + data.decode(), data, None),
    )
    with pytest.raises(StoreError, match="ignores If-Match"):
        tier_of(url).check()
