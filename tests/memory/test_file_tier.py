"""What a folder of segments has to survive; what all stores do is in test_block_stores."""

import os
import shutil
from contextlib import closing

import pytest
import torch
from kv_blocks import kv_block, kv_record

from memory import (
    BlockRecord,
    FileTier,
    MemoryConfig,
    StoreError,
    follow_memory,
    open_memory,
)
from memory.tiers.file.file_tier import MAX_OPEN_FILES
from memory.tiers.file.segment_file import SegmentFile

RECORDS = [kv_record(seed=i) for i in range(12)]
SEGMENT_BYTES = 3 * len(RECORDS[0].to_bytes()) + 100
HALF = {i: BlockRecord(RECORDS[i].head, b"", (b"a" * 9, b"b" * 9)) for i in (0, 2)}


def opened(folder, segment_bytes=SEGMENT_BYTES):
    tier = FileTier(folder, segment_bytes)
    return tier, [head.block_id for head in tier.recover()]


def write(folder, records=RECORDS):
    tier, _ = opened(folder)
    with closing(tier):
        for record in records:
            tier.put(record)


def content(tier, ids):
    return [tier.read_record(i).to_bytes() for i in ids]


def test_blocks_are_spread_over_segments_that_are_named_by_their_first_block(tmp_path):
    write(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{first:012d}-000000.vskv" for first in (0, 3, 6, 9)]
    tier, ids = opened(tmp_path)
    with closing(tier):
        assert ids == list(range(12))
        assert content(tier, ids) == [record.to_bytes() for record in RECORDS]


def test_a_replaced_segment_is_a_new_generation_and_the_old_one_is_gone(tmp_path):
    write(tmp_path)
    tier, _ = opened(tmp_path)
    with closing(tier):
        tier.replace((0, 1, 2), HALF)
    assert not (tmp_path / "000000000000-000000.vskv").exists()
    tier, ids = opened(tmp_path)
    with closing(tier):
        assert ids == [0, *range(2, 12)]
        assert tier.read_rows(1, [2]) == [b"b" * 9]


def stages_of_a_replacement(folder, tmp_path):
    """The folder as a process may leave it that dies while it replaces the first segment."""
    old, new = "000000000000-000000.vskv", "000000000000-000001.vskv"
    done = tmp_path / "done"
    shutil.copytree(folder, done)
    tier, _ = opened(done)
    with closing(tier):
        tier.replace((0, 1, 2), HALF)
    whole = (done / new).read_bytes()
    for cut in (0, 1, len(whole) // 2, len(whole)):
        stage = tmp_path / f"partial {cut}"
        shutil.copytree(folder, stage)
        (stage / f"{new}.partial").write_bytes(whole[:cut])
        yield stage, False
    both = tmp_path / "both"
    shutil.copytree(folder, both)
    (both / new).write_bytes(whole)
    yield both, True
    assert (folder / old).exists()
    yield done, True


def test_a_process_that_dies_while_it_replaces_leaves_the_old_or_the_new(tmp_path):
    write(tmp_path / "store")
    num_stages = 0
    for stage, is_new in stages_of_a_replacement(tmp_path / "store", tmp_path):
        tier, ids = opened(stage)
        with closing(tier):
            kept = [0, 2] if is_new else [0, 1, 2]
            assert ids == [*kept, *range(3, 12)]
            if not is_new:
                assert content(tier, kept) == [RECORDS[i].to_bytes() for i in kept]
            assert len(list(stage.iterdir())) == 4
        num_stages += 1
    assert num_stages == 6


def test_numbers_go_on_after_everything_was_forgotten(tmp_path):
    write(tmp_path)
    tier, _ = opened(tmp_path)
    with closing(tier):
        tier.close_span()
        for span in tier.spans():
            tier.replace(span.block_ids, {})
        assert tier.num_bytes == 0
    tier, ids = opened(tmp_path)
    with closing(tier):
        assert (ids, tier.next_id) == ([], 12)
        tier.put(kv_record(seed=12))
        assert tier.next_id == 13


def test_more_segments_than_files_may_be_open_are_read(tmp_path):
    tier, _ = opened(tmp_path, segment_bytes=1)
    records = [kv_record(seed=i) for i in range(MAX_OPEN_FILES + 20)]
    with closing(tier):
        for record in records:
            tier.put(record)
        ids = [*range(len(records)), 0]
        assert tier.read_rows(0, ids) == [records[i].rows[0] for i in ids]


def open_files(folder):
    """The targets of this process's descriptors that lie in the folder."""
    targets = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [target for target in targets if target.startswith(str(folder))]


def test_a_bounded_number_of_files_is_open_and_none_after_closing(tmp_path):
    tier, _ = opened(tmp_path, segment_bytes=1)
    for i in range(MAX_OPEN_FILES + 20):
        tier.put(kv_record(seed=i))
    tier.read_rows(0, range(MAX_OPEN_FILES))  # the newest segment is the one not used for longest
    assert len(open_files(tmp_path)) <= MAX_OPEN_FILES <= 16
    tier.close()
    assert open_files(tmp_path) == []


def test_a_part_of_a_block_in_an_older_segment_is_left_out(tmp_path):
    config = MemoryConfig(store=f"file://{tmp_path}", segment_bytes=1 << 16)
    make = ("camera", "model-a", 2, 2, 8, torch.device("cpu"))
    with open_memory(config, *make) as memory:
        for number in range(200):
            memory.append(kv_block(tokens=20, end_s=float(number), seed=number))
    first, *later = sorted((tmp_path / "camera" / "segments").iterdir())
    assert later
    os.truncate(first, first.stat().st_size - 100)
    lost = int(later[0].name[:12]) - 1
    for opened_by in (
        lambda: open_memory(config, *make),
        lambda: follow_memory(config, "camera", torch.device("cpu")),
    ):
        with opened_by() as memory:
            assert memory.visible(None) == [i for i in range(200) if i != lost]
        assert open_files(tmp_path) == []


def test_a_part_of_a_block_is_cut_from_the_newest_segment(tmp_path):
    write(tmp_path)
    newest = tmp_path / "000000000009-000000.vskv"
    newest.write_bytes(newest.read_bytes()[:-5])
    tier, ids = opened(tmp_path)
    with closing(tier):
        assert ids == list(range(11))
        assert tier.cut_bytes > 0
        tier.put(RECORDS[11])
    assert opened(tmp_path)[1] == list(range(12))


def test_a_segment_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write(tmp_path)
    tier, _ = opened(tmp_path)

    def full(self, record):
        raise StoreError("no space left")

    with closing(tier):
        monkeypatch.setattr(SegmentFile, "append", full)
        with pytest.raises(StoreError, match="no space"):
            tier.replace((0, 1, 2), HALF)
        assert content(tier, range(3)) == [RECORDS[i].to_bytes() for i in range(3)]
        assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file: cannot be used for blocks"):
        FileTier(tmp_path / "file", 1)
