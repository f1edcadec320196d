import resource
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import HEAD_DIM, KV_HEADS, LAYERS, kv_block, kv_record, same_info

from memory import BlockCorruptError, BlockNotFoundError, BlockRecord, StoreError
from memory.codecs.codec import record_of
from memory.tiers.file.segment_file import SegmentFile

RECORDS = [kv_record(seed=i, tokens=1 + i % 3) for i in range(4)]
SIZES = [len(record.to_bytes()) for record in RECORDS]


def write(path, records=RECORDS):
    with closing(SegmentFile(path, 0)) as segment:
        for record in records:
            segment.append(record)


def recovered(path):
    """The segment after a scan, the infos that were found and how many bytes were cut off."""
    segment = SegmentFile(path, 0)
    infos = [head.info for head in segment.scan()]
    return segment, infos, segment.cut()


def read_everything(segment):
    list(segment.scan())
    return [
        [segment.read_thumbnail(i), *(segment.read_row(layer, i) for layer in (0, 1))]
        for i in segment.block_ids
    ]


def test_what_was_put_is_there_after_reopening(tmp_path):
    write(tmp_path / "blocks")
    segment, infos, cut_bytes = recovered(tmp_path / "blocks")
    with closing(segment):
        assert all(map(same_info, infos, [record.head.info for record in RECORDS]))
        assert segment.num_bytes == sum(SIZES)
        assert cut_bytes == 0
        for i in (3, 0, 3, 1):
            assert segment.read_record(i).to_bytes() == RECORDS[i].to_bytes()
            assert segment.read_thumbnail(i) == RECORDS[i].thumbnail
            for layer in (0, 1):
                assert segment.read_row(layer, i) == RECORDS[i].rows[layer]


def test_reopened_files_take_more_blocks(tmp_path):
    write(tmp_path / "halves", RECORDS[:2])
    segment, _, _ = recovered(tmp_path / "halves")
    with closing(segment):
        segment.append(RECORDS[2])
        segment.close()  # it opens itself again
        segment.append(RECORDS[3])
        assert segment.read_row(1, 2) == RECORDS[2].rows[1]
    write(tmp_path / "whole")
    assert (tmp_path / "halves").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_writer_killed_at_any_byte_loses_only_the_block_it_was_writing(tmp_path):
    path = tmp_path / "blocks"
    write(path)
    intact = path.read_bytes()
    whole_bytes = sum(SIZES[:-1])
    for length in range(whole_bytes, len(intact)):
        path.write_bytes(intact[:length])
        segment, infos, cut_bytes = recovered(path)
        with closing(segment):
            assert len(infos) == len(RECORDS) - 1
            assert cut_bytes == length - whole_bytes
            assert path.stat().st_size == whole_bytes
            assert segment.read_row(0, 2) == RECORDS[2].rows[0]
            segment.append(RECORDS[3])
        assert path.read_bytes() == intact


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "blocks"
        write(path)
        changed = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
        record_offset = max(sum(SIZES[:i]) for i in range(4) if sum(SIZES[:i]) <= at)
        number = [sum(SIZES[:i]) for i in range(4)].index(record_offset)
        with closing(SegmentFile(path, 0)) as segment:
            ids = [head.block_id for head in segment.scan()]
            assert [i for i in range(4) if i != number] == [i for i in ids if i != number]
            if number in ids:
                with pytest.raises(BlockCorruptError) as caught:
                    read_everything(segment)
                assert f"{path}: block {number} at byte {record_offset}" in str(caught.value)
                assert not segment.damage(is_newest=True)
            else:
                (told,) = segment.damage(is_newest=True)
                end = record_offset + SIZES[number]
                assert told.what.startswith(f"{path}: bytes {record_offset} to {end}: ")


def test_an_intact_layer_is_read_although_another_one_is_damaged(tmp_path):
    path = tmp_path / "blocks"
    write(path)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    segment, _, _ = recovered(path)
    with closing(segment):
        assert segment.read_row(0, 3) == RECORDS[3].rows[0]
        with pytest.raises(BlockCorruptError, match=r"block 3 at byte .*, layer 1"):
            segment.read_row(1, 3)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "blocks"
    write(path, RECORDS[:2])
    before = path.read_bytes()
    segment, _, _ = recovered(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(segment):
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        try:
            with pytest.raises(StoreError, match=r"block 2 at byte .*: cannot be written"):
                segment.append(RECORDS[2])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before
        segment.append(RECORDS[2])
        assert segment.read_row(1, 2) == RECORDS[2].rows[1]


def test_a_file_that_was_closed_in_between_is_flushed_all_the_same(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("memory.tiers.file.segment_file.os.fsync", flushed.append)
    segment = SegmentFile(tmp_path / "blocks", 0)
    segment.append(RECORDS[0])
    segment.close()  # as it happens where too many files are open
    with closing(segment):
        segment.flush()
        assert len(flushed) == 1


def test_a_block_that_was_never_put_is_named(tmp_path):
    write(tmp_path / "blocks")
    segment, _, _ = recovered(tmp_path / "blocks")
    with closing(segment), pytest.raises(BlockNotFoundError, match="has no block 4"):
        segment.read_row(0, 4)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(StoreError, match=f"{tmp_path}: cannot be opened"):
        SegmentFile(tmp_path, 0).append(RECORDS[0])


def test_an_index_tells_all_of_the_heads(tmp_path):
    """Of blocks that were rewritten, are small, are found by two vectors, or carry others'."""
    make = kv_record().head.provenance
    blocks = [kv_block(tokens=1 + i % 3, seed=i) for i in range(20)]
    blocks[3] = replace(blocks[3], left={1: torch.ones(LAYERS, 9), 2: torch.zeros(LAYERS, 9)})
    two = torch.randn(LAYERS, 2, KV_HEADS * HEAD_DIM)
    blocks[5], blocks[6] = (replace(block, index=two) for block in blocks[5:7])
    codecs = ["int4_token" if i in (4, 6) else "int8" for i in range(20)]
    records = [
        record_of(block, i, make, codec, is_rewritten=i in (4, 7))
        for i, (block, codec) in enumerate(zip(blocks, codecs, strict=True))
    ]
    write(tmp_path / "blocks", records)
    with closing(SegmentFile(tmp_path / "blocks", 0)) as segment:
        segment.write_index(list(segment.scan()))
    with closing(SegmentFile(tmp_path / "blocks", 0)) as again:
        heads = list(again.scan())
        assert again.index_bytes
    for head, record in zip(heads, records, strict=True):
        same = BlockRecord(head, record.thumbnail, record.rows)
        assert same.to_bytes() == record.to_bytes()
