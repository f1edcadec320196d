"""What is noted in files counts with blocks that are there; what is damaged does not."""

import errno
import os
from dataclasses import replace

import pytest
from kv_blocks import CPU, kv_stream, memory_of

from memory import MemoryConfig, StoreError, follow_memory
from memory.tiers.file.state_log import StateLog


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.state"


@pytest.fixture
def log(path):
    log = StateLog(path)
    log.append(0, {"a": b"old", "b": b"gone"})
    log.append(1, {"a": b"new", "b": None})
    return log


def test_without_notes_there_is_no_file(path):
    assert StateLog(path).recover(7, path.with_name("aside")) == {}
    assert not path.exists()


def test_a_note_counts_once_its_block_is_there(log):
    assert log.state(2) == {"a": b"new"}
    assert log.state(1) == {"a": b"old", "b": b"gone"}
    assert log.state(0) == {}


def test_what_was_noted_with_a_block_that_never_came_does_not_come_back(log, path):
    aside = path.with_name("aside")
    assert log.recover(1, aside) == {"a": b"old", "b": b"gone"}
    assert StateLog(path).state(99) == {"a": b"old", "b": b"gone"}
    assert not aside.exists()


@pytest.mark.parametrize("cut", range(1, 40))
def test_an_entry_that_is_not_whole_is_not_read(log, path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    assert StateLog(path).state(2) in (
        {"a": b"new", "b": b"gone"},
        {"a": b"old", "b": b"gone"},
    )


def test_an_entry_that_is_damaged_is_not_read(log, path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert StateLog(path).state(2) == {"a": b"new", "b": b"gone"}
    fault = StateLog(path).fault()
    assert fault is not None
    assert f" to {len(data)}: " in fault.what
    assert StateLog(path).recover(2, path.with_name("aside")) == {"a": b"new", "b": b"gone"}
    assert StateLog(path).fault() is None
    assert (path.parent / "aside" / path.name).read_bytes() == data


def test_an_entry_that_cannot_be_written_leaves_none_behind(log, path, monkeypatch):
    before, write = path.read_bytes(), os.write

    def half(file, data):
        monkeypatch.setattr(os, "write", full)
        return write(file, data[: len(data) // 2])

    def full(file, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(StoreError, match="No space left"):
        log.append(2, {"c": b"more"})
    assert path.read_bytes() == before
    monkeypatch.undo()
    log.append(2, {"c": b"more"})
    assert log.state(3) == {"a": b"new", "c": b"more"}


def test_a_reader_sees_what_is_appended(log, path):
    reader = StateLog(path)
    assert reader.state(3) == {"a": b"new"}
    log.append(2, {"c": b"more"})
    assert reader.state(3) == {"a": b"new", "c": b"more"}


def test_written_anew_it_holds_what_counts(log, path):
    before = log.num_bytes
    log.rewrite(1, log.state(2))
    assert log.num_bytes < before
    assert StateLog(path).state(2) == {"a": b"new"}


@pytest.mark.parametrize("note_bytes", [10, 20_000])
def test_notes_that_go_with_new_blocks_are_written_over_now_and_then(
    tmp_path, monkeypatch, note_bytes
):
    rewritten = []
    rewrite = StateLog.rewrite
    monkeypatch.setattr(StateLog, "rewrite", lambda *given: rewritten.append(rewrite(*given)))
    store = f"file://{tmp_path}"
    with memory_of(store) as memory:
        for number, block in enumerate(kv_stream(40)):
            noted = {
                str(number): f"secret {number}".encode().ljust(note_bytes),
                str(number - 1): None,
            }
            memory.take(replace(memory.encoded(block), noted=noted))
            assert list(memory.state) == [str(number)]
        [file] = tmp_path.rglob("policy.state")
        assert len(rewritten) <= 40 * note_bytes / (64 << 10)
        assert file.stat().st_size <= 3 * (note_bytes + 30) + (64 << 10)
        with follow_memory(MemoryConfig(store=store), "camera", CPU) as reader:
            assert reader.state == memory.state


@pytest.mark.parametrize("last_goes", [False, True])
def test_of_what_is_forgotten_no_note_is_left_in_the_file(tmp_path, last_goes):
    """Not even one that had gone before: here the policy forgets nothing of what is there."""
    with memory_of(f"file://{tmp_path}") as memory:
        memory._policy = replace(memory._policy, forgotten=lambda *_: {})
        changes = {"a": b"secret"}, {"a": None, "b": b"other"}, {"b": None} if last_goes else {}
        for block, noted in zip(kv_stream(3), changes, strict=True):
            memory.take(replace(memory.encoded(block), noted=noted))
        memory.forget(0.0, 0.5)
        [file] = tmp_path.rglob("policy.state")
        assert b"secret" not in file.read_bytes()
