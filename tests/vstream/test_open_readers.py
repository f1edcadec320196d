import shutil
from contextlib import ExitStack

import pytest
from engine import open_session, stream_frames, tiny_video_llm

from memory import MemoryConfig, StoreError
from vstream.config import VStreamConfig
from vstream.open_readers import MAX_OPEN, OpenReaders

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
