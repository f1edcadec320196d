import shutil
import threading
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing, contextmanager

import pytest
from engine import open_session, stream_frames, tiny_video_llm

from memory import MemoryConfig, StoreError
from vstream.config import VStreamConfig
from vstream.errors import BusyError
from vstream.open_readers import MAX_OPEN, OpenReaders
from vstream.stream_reader import open_reader

MIB = 1 << 20


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


@pytest.fixture
def readers(model, tmp_path):
    """More streams than are kept open; eight readers share 16 MiB."""
    store = f"file://{tmp_path}"
    with open_session(model, store=store, window_frames=8, window_stride=4) as session:
        session.push(stream_frames(8))
    for number in range(MAX_OPEN + 4):
        shutil.copytree(tmp_path / "test", tmp_path / f"s{number}")
    readers = OpenReaders(
        VStreamConfig(memory=MemoryConfig(store=store, host_bytes=16 * MIB)), model, max_users=3
    )
    yield readers
    readers.close()


def test_however_many_are_read_at_once_they_share_what_is_configured(readers):
    with ExitStack() as reading:
        opened = [
            reading.enter_context(readers.reader(f"s{number}")) for number in range(MAX_OPEN + 4)
        ]
        assert len({reader.ask("what?").answer.text for reader in opened}) == 1
        budgets = [reader.memory._cache.budget_bytes for reader in opened]
    assert budgets == [2 * MIB] * MAX_OPEN + [MIB] * 4
    assert len(readers._open) == MAX_OPEN


def test_nothing_is_kept_of_a_deleted_stream_once_nobody_reads_it(readers):
    with readers.reader("s0") as reader:
        readers.drop("s0")
        assert reader.ask("what?").answer.evidence
    with pytest.raises(StoreError, match="closed"):
        reader.ask("what?")
    with readers.reader("s1") as reader:
        reader.ask("what?")
    readers.drop("s1")
    with pytest.raises(StoreError, match="closed"):
        reader.ask("what?")
    readers.drop("never-opened")
    assert not readers._open


def test_a_stream_that_takes_long_to_open_keeps_nobody_from_others(readers, monkeypatch):
    begun, may_open = threading.Event(), threading.Event()
    num_opened = []

    def slowly(config, model, stream_id):
        num_opened.append(stream_id)
        if stream_id == "s0":
            begun.set()
            assert may_open.wait(20)
        return open_reader(config, model, stream_id)

    monkeypatch.setattr("vstream.open_readers.open_reader", slowly)
    answers = []

    def ask():
        with readers.reader("s0") as reader:
            answers.append(reader.ask("what?").answer.text)

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for one in asking:
        one.start()
    assert begun.wait(20)
    with readers.reader("s1") as reader:
        assert reader.ask("what?").answer.evidence
    may_open.set()
    for one in asking:
        one.join()
    assert len(answers) == 3
    assert num_opened == ["s0", "s1"]


def test_a_stream_that_cannot_be_opened_is_tried_anew(readers, tmp_path):
    for _ in range(2):
        with pytest.raises(StoreError), readers.reader("not-yet"):
            pass
    shutil.copytree(tmp_path / "test", tmp_path / "not-yet")
    with readers.reader("not-yet") as reader:
        assert reader.ask("what?").answer.evidence


def test_that_too_many_ask_closes_no_reader(readers):
    with readers.reader("s0") as before:
        before.ask("what?")
    with pytest.raises(BusyError), readers.reader("s0"):
        raise BusyError("too many")
    with readers.reader("s0") as after:
        assert after is before


def test_a_question_that_waits_while_the_writer_is_replaced_is_asked_again(model, valkey_server):
    config = VStreamConfig(memory=MemoryConfig(store=valkey_server.url))
    readers = OpenReaders(config, model, max_users=1)
    asked = []

    def ask(reader):
        asked.append(reader)
        if len(asked) == 1:
            writing.enter_context(written(start=10))
        return reader.ask("what?")

    @contextmanager
    def written(start):
        with open_session(model, store=valkey_server.url, window_frames=8) as session:
            session.push(stream_frames(2, start=start))
            session.memory.flush()
            yield

    with closing(readers), ExitStack() as writing:
        with written(start=0), readers.reader("test"):
            pass
        assert readers.ask("test", ask).answer.newest_frame_s == 11
    assert len(asked) == 2


@pytest.mark.parametrize("leaving", [CancelledError, BusyError])
def test_who_leaves_while_waiting_does_not_close_the_stream_for_others(readers, leaving):
    with readers.reader("s0") as first:
        pass
    with pytest.raises(leaving), readers.reader("s0"):
        raise leaving
    with readers.reader("s0") as again:
        assert again is first
