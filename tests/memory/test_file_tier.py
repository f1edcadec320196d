import resource
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import kv_record, same_info

from memory import BlockCorruptError, BlockNotFoundError, FileTier, StoreError

RECORDS = [kv_record(seed=i, tokens=1 + i % 3) for i in range(4)]
SIZES = [len(record.to_bytes()) for record in RECORDS]


def write(path, records=RECORDS):
    with closing(FileTier(path)) as tier:
        assert list(tier.recover()) == []
        for block_id, record in enumerate(records):
            tier.put(block_id, record)


def recovered(path):
    """The tier after recovery, and the infos it recovered."""
    tier = FileTier(path)
    return tier, [head.info for head in tier.recover()]


def read_everything(tier):
    num_blocks = len(list(tier.recover()))
    return [tier.read_rows(layer, range(num_blocks)) for layer in (0, 1)]


def test_what_was_put_is_there_after_reopening(tmp_path):
    write(tmp_path / "blocks")
    tier, infos = recovered(tmp_path / "blocks")
    with closing(tier):
        assert all(map(same_info, infos, [record.head.info for record in RECORDS]))
        assert tier.num_bytes == sum(SIZES)
        assert tier.cut_bytes == 0
        for layer in (0, 1):
            wanted = [RECORDS[i].rows[layer] for i in (3, 0, 3, 1)]
            assert tier.read_rows(layer, [3, 0, 3, 1]) == wanted


def test_reopened_files_take_more_blocks(tmp_path):
    write(tmp_path / "halves", RECORDS[:2])
    tier, _ = recovered(tmp_path / "halves")
    with closing(tier):
        tier.put(2, RECORDS[2])
        tier.put(3, RECORDS[3])
        assert tier.read_rows(1, [2, 1]) == [RECORDS[2].rows[1], RECORDS[1].rows[1]]
    write(tmp_path / "whole")
    assert (tmp_path / "halves").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_writer_killed_at_any_byte_loses_only_the_block_it_was_writing(tmp_path):
    path = tmp_path / "blocks"
    write(path)
    intact = path.read_bytes()
    whole_bytes = sum(SIZES[:-1])
    for length in range(whole_bytes, len(intact)):
        path.write_bytes(intact[:length])
        tier, infos = recovered(path)
        with closing(tier):
            assert len(infos) == len(RECORDS) - 1
            assert tier.cut_bytes == length - whole_bytes
            assert path.stat().st_size == whole_bytes
            assert tier.read_rows(0, [2]) == [RECORDS[2].rows[0]]
            tier.put(3, RECORDS[3])
        assert path.read_bytes() == intact


@given(st.data())
@settings(deadline=None)
def test_no_changed_byte_goes_unnoticed(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "blocks"
        write(path)
        changed = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
        record_offset = max(sum(SIZES[:i]) for i in range(4) if sum(SIZES[:i]) <= at)
        tier = FileTier(path)
        with closing(tier), pytest.raises((BlockCorruptError, StoreError)) as caught:
            read_everything(tier)
        assert f"{path}: block" in str(caught.value)
        assert f"at byte {record_offset}" in str(caught.value)


def test_an_intact_layer_is_read_although_another_one_is_damaged(tmp_path):
    path = tmp_path / "blocks"
    write(path)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    tier, _ = recovered(path)
    with closing(tier):
        assert tier.read_rows(0, [3]) == [RECORDS[3].rows[0]]
        with pytest.raises(BlockCorruptError, match=r"block 3 at byte .*, layer 1"):
            tier.read_rows(1, [3])


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "blocks"
    write(path, RECORDS[:2])
    before = path.read_bytes()
    tier, _ = recovered(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(tier):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        try:
            with pytest.raises(StoreError, match=r"block 2 at byte .*: cannot be written"):
                tier.put(2, RECORDS[2])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before
        tier.put(2, RECORDS[2])
        assert tier.read_rows(1, [2]) == [RECORDS[2].rows[1]]


def test_a_block_that_was_never_put_is_named(tmp_path):
    write(tmp_path / "blocks")
    tier, _ = recovered(tmp_path / "blocks")
    with closing(tier), pytest.raises(BlockNotFoundError, match="blocks 0 to 3, not block 4"):
        tier.read_rows(0, [4])


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(StoreError, match=f"{tmp_path}: cannot be opened"):
        FileTier(tmp_path)
