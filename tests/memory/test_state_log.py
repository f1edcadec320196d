"""What is noted in files counts with blocks that are there; what is damaged does not."""

import pytest

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
    assert StateLog(path).recover(7) == {}
    assert not path.exists()


def test_a_note_counts_once_its_block_is_there(log):
    assert log.state(2) == {"a": b"new"}
    assert log.state(1) == {"a": b"old", "b": b"gone"}
    assert log.state(0) == {}


def test_what_was_noted_with_a_block_that_never_came_does_not_come_back(log, path):
    assert log.recover(1) == {"a": b"old", "b": b"gone"}
    assert StateLog(path).state(99) == {"a": b"old", "b": b"gone"}


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
