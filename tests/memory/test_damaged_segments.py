"""A stream whose files were damaged opens, loses what the damage touched, and says so.

Fifteen blocks lie in three segments. Whatever is read of them afterwards is what was put.
"""

import io
import json
import os
import shutil
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from damaged_store import (
    NOTE,
    NUM,
    PAGE_BYTES,
    PER_SEGMENT,
    add_zeros,
    block,
    blocks_of,
    config_of,
    content,
    cut,
    descriptions,
    flip,
    indexes_of,
    offsets_of,
    opened,
    remove_indexes,
    segments_of,
    write_sound,
    zero,
)
from kv_blocks import (
    CPU,
    HEAD_DIM,
    KV_HEADS,
    LAYERS,
    kv_block,
    kv_record,
    kv_stream,
    memory_of,
)

from memory import (
    BlockNotFoundError,
    BlockRecord,
    StoreError,
    find_stream,
    follow_memory,
    open_stored,
    stored_ids,
    stored_streams,
)
from memory.block_record import HEADER_BYTES
from memory.tiers.file import file_follower
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_index import read_index
from memory.tiers.file.whole_files import write_checked


@pytest.fixture(scope="module", autouse=True)
def _indexes_of_few_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memory.tiers.file.segment_file._FEW_BLOCKS", 1)
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The folder of an undamaged store; not to be changed."""
    folder = tmp_path_factory.mktemp("sound")
    write_sound(folder)
    return folder


@pytest.fixture
def indexed(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def store(indexed):
    """Without the indexes beside the segments, so that the segments themselves are read."""
    remove_indexes(indexed)
    return indexed


def as_killed(folder):
    """The list of segments as a writer leaves it that dies after the first block of the newest."""
    listed = {str(int(path.name[:12])): PER_SEGMENT for path in segments_of(folder)}
    listed["10"] = 1
    write_checked(folder / "camera" / "segments.json", {"segments": listed})


def loses(folder, lost, next_id=NUM):
    """The store opens without the blocks `lost`, goes on from `next_id` or above, and again."""
    kept = [number for number in range(NUM) if number not in lost]
    with opened(folder) as memory:
        assert blocks_of(memory) == kept
        assert memory.append(block(NUM)) >= next_id
        told = memory.stats()
    with opened(folder) as memory:
        assert blocks_of(memory) == [*kept, NUM]
    return told


HEADS = {
    "magic": 0,
    "version": 4,
    "sizes": 8,
    "meta": 60,
}


@pytest.mark.parametrize("part", HEADS)
@pytest.mark.parametrize("number", [0, 2, 4, 12])
def test_a_flipped_bit_in_a_head_costs_that_block(store, part, number):
    segment = segments_of(store)[number // PER_SEGMENT]
    flip(segment, offsets_of(segment)[number % PER_SEGMENT] + HEADS[part])
    assert loses(store, {number}).damaged == 1


def test_a_flipped_bit_in_representative_keys_costs_that_block(store):
    segment = segments_of(store)[1]
    data = segment.read_bytes()
    flip(segment, data.index(block(7).thumbnail) - 1)
    assert loses(store, {7}).damaged == 1


def test_a_flipped_bit_in_a_picture_costs_the_picture(store):
    segment = segments_of(store)[1]
    flip(segment, segment.read_bytes().index(block(7).thumbnail))
    with opened(store) as memory:
        assert (memory.thumbnail(7), memory.thumbnail(8)) == (b"", block(8).thumbnail)
        assert memory.thumbnails([6, 7]) == [block(6).thumbnail, b""]
        assert memory.stats().damaged == 1
    loses(store, set())


def test_a_flipped_bit_in_a_row_costs_the_block_once_it_is_read(store):
    segment = segments_of(store)[0]
    flip(segment, segment.stat().st_size - 100)
    with opened(store) as memory:
        assert 4 in memory.visible(None)
        with pytest.raises(BlockNotFoundError, match="block 4"):
            memory.read(1, [3, 4], torch.float32, CPU)
        assert 4 not in memory.visible(None)
        memory.read(1, [3], torch.float32, CPU)
        assert memory.stats().damaged == 1
    assert loses(store, {4}).damaged == 1


@pytest.mark.parametrize("num_bytes", [1, 10, HEADER_BYTES, 4096, 1 << 20])
def test_zeros_behind_the_newest_segment_are_cut(store, num_bytes):
    add_zeros(segments_of(store)[-1], num_bytes)
    told = loses(store, set())
    assert (told.cut_bytes, told.damaged) == (num_bytes, 1)


def test_a_last_record_that_came_out_as_zeros_is_lost_alone(store):
    segment = segments_of(store)[-1]
    zero(segment, segment.stat().st_size - 3000, None)
    loses(store, {14})


def test_a_part_of_a_last_record_is_cut_as_one_that_was_never_put(store):
    as_killed(store)
    cut(segments_of(store)[-1], 500)
    told = loses(store, {14}, next_id=14)
    assert told.cut_bytes > 0
    assert told.damaged == 0


def test_a_part_of_the_first_record_of_the_newest_segment_is_cut_as_well(store):
    newest = segments_of(store)[-1]
    os.truncate(newest, offsets_of(newest)[1] - 3)
    (store / "camera" / "segments.json").unlink()
    told = loses(store, range(10, 15), next_id=10)
    assert told.damaged == 0
    assert newest.exists()


@pytest.mark.parametrize("left", [0, 1, 3])
@pytest.mark.parametrize("more_bytes", [0, 500])
def test_blocks_that_are_cut_off_after_the_writer_closed_are_noticed(store, left, more_bytes):
    newest = segments_of(store)[-1]
    os.truncate(newest, offsets_of(newest)[left] + more_bytes)
    (told,) = stored_streams(f"file://{store}")
    assert (told.blocks, told.damaged) == (10 + left, 1)
    assert loses(store, range(10 + left, 15)).damaged == 1


@pytest.mark.parametrize("at", [0, 1])
def test_blocks_that_are_cut_off_an_older_segment_are_noticed_without_its_index(store, at):
    path = segments_of(store)[at]
    os.truncate(path, offsets_of(path)[2])
    first = at * PER_SEGMENT
    assert loses(store, range(first + 2, first + PER_SEGMENT)).damaged == 1


def test_an_old_segment_that_is_cut_short_costs_its_last_block(store):
    segment = segments_of(store)[0]
    cut(segment, 100)
    before = segment.read_bytes()
    assert loses(store, {4}).damaged == 1
    assert segment.read_bytes() == before, "only the newest segment is cut"


def test_a_page_of_zeros_costs_the_blocks_that_it_touches(store):
    segment = segments_of(store)[1]
    border = offsets_of(segment)[2]
    zero(segment, border - 100, border + PAGE_BYTES - 100)
    loses(store, {6, 7})


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("spoil", ["zeros", "no bytes", "one byte"])
def test_a_file_without_a_sound_record_is_set_aside(store, at, spoil):
    segment = segments_of(store)[at]
    kept = {"zeros": bytes(segment.stat().st_size), "no bytes": b"", "one byte": b"?"}[spoil]
    segment.write_bytes(kept)
    gone = range(at * PER_SEGMENT, (at + 1) * PER_SEGMENT)
    assert loses(store, gone).damaged == 1
    (aside,) = (store / "camera" / "damaged").iterdir()
    assert aside.name == segment.name
    assert aside.read_bytes() == kept
    assert not segment.exists()
    with opened(store) as memory:
        assert memory.stats().damaged == 0, "it is told of once"


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_missing_segment_is_noticed_once(store, at):
    segments_of(store)[at].unlink()
    gone = range(at * PER_SEGMENT, (at + 1) * PER_SEGMENT)
    (told,) = stored_streams(f"file://{store}")
    assert (told.blocks, told.damaged) == (NUM - PER_SEGMENT, 1)
    assert loses(store, gone).damaged == 1
    with opened(store) as memory:
        assert memory.stats().damaged == 0


def test_a_next_id_stays_above_lost_ones_although_nothing_is_put_before_the_next_opening(store):
    segments_of(store)[-1].write_bytes(b"?" * 1000)
    with opened(store) as memory:
        next_id = memory.num_blocks
        assert next_id >= NUM
    loses(store, range(10, 15), next_id)


def test_what_a_dying_writer_left_beside_the_segments_is_no_damage(store):
    segments_of(store)[0].with_suffix(".vskv.partial").write_bytes(b"x")
    assert loses(store, set()).damaged == 0


def test_damage_is_logged_with_its_place(store, capsys):
    flip(segments_of(store)[0], 8)
    opened(store).close()
    said = capsys.readouterr().out
    assert said.count("000000000000-000000.vskv: bytes 0 to ") == 1
    assert "1 block lost" in said


def test_a_store_with_damage_is_listed_with_all_that_is_left(store):
    flip(segments_of(store)[0], 8)
    cut(segments_of(store)[1], 100)
    add_zeros(segments_of(store)[2], 5000)
    before = content(store)
    (told,) = stored_streams(f"file://{store}")
    assert (told.blocks, told.damaged, told.error) == (NUM - 2, 3, None)
    assert content(store) == before


def test_a_live_stream_is_not_said_to_miss_what_it_begins_or_lets_go_meanwhile(store, monkeypatch):
    newest_segments = file_follower.newest_segments
    with opened(store) as writer:

        def meanwhile(folder):
            writer.forget(0.0, 4.0)
            found = newest_segments(folder)
            for number in range(NUM, NUM + 10):
                writer.append(block(number))
            return found

        monkeypatch.setattr(file_follower, "newest_segments", meanwhile)
        (told,) = stored_streams(f"file://{store}")
        assert len(segments_of(store)) > NUM // PER_SEGMENT
        assert (told.damaged, told.error) == (0, None)


# What made the blocks, and the note


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("spoil", ["empty", "zeros", "a letter", "missing"])
def test_a_lost_description_is_made_good_from_its_copy(store, at, spoil):
    path = descriptions(store)[at]
    whole = path.read_text()
    spoilt = {"empty": "", "zeros": "\0" * len(whole), "a letter": whole.replace("door", "dooq")}
    if spoil == "missing":
        path.unlink()
    else:
        path.write_text(spoilt[spoil])
    for _ in range(2):
        assert stored_ids(f"file://{store}") == ["camera"]
        found = find_stream(f"file://{store}", "camera")
        assert (found.note, found.note_lost) == (NOTE, False)
        with opened(store) as memory:
            assert memory.note == NOTE
            assert blocks_of(memory) == list(range(NUM))
    assert path.read_text() == whole
    aside = list((store / "camera").glob("damaged/*"))
    assert [one.read_text() for one in aside] == ([] if spoil == "missing" else [spoilt[spoil]])


def test_where_no_description_is_left_the_blocks_tell_what_made_them(store):
    for path in descriptions(store):
        path.write_text("")
    with closing(follow_memory(config_of(store), "camera", CPU)) as reader:
        assert blocks_of(reader) == list(range(NUM))
    found = find_stream(f"file://{store}", "camera")
    assert found.provenance.fingerprint == "model-a"
    assert (found.note, found.note_lost) == ({}, True)
    with open_stored(config_of(store), "camera") as memory:
        assert (memory.provenance, memory.note) == (found.provenance, {})
    assert not find_stream(f"file://{store}", "camera").note_lost
    loses(store, set())


def test_the_blocks_tell_what_made_them_although_the_first_are_damaged(store):
    for path in descriptions(store):
        path.write_text("")
    zero(segments_of(store)[0], 0, None)
    flip(segments_of(store)[1], 0)
    loses(store, {0, 1, 2, 3, 4, 5})


def test_a_description_of_the_version_before_gets_a_copy(store):
    """That had no copy, no CRC32 and no list of segments."""
    camera = store / "camera"
    for path in [*descriptions(store), camera / "segments.json"]:
        described = json.loads(path.read_text())
        path.unlink()
        if path.name == "stream.json":
            del described["crc32"]
            path.write_text(json.dumps({**described, "format_version": 2}))
    with closing(follow_memory(config_of(store), "camera", CPU)) as reader:
        assert blocks_of(reader) == list(range(NUM))
    assert loses(store, set()).damaged == 0
    descriptions(store)[1].write_text("")
    segments_of(store)[1].unlink()
    with opened(store) as memory:
        assert memory.note == NOTE
        assert memory.stats().damaged == 1


def test_a_stream_of_a_newer_version_is_not_touched(store):
    for path in descriptions(store):
        described = json.loads(path.read_text())
        del described["crc32"]
        write_checked(path, {**described, "format_version": 99})
    before = content(store)
    with pytest.raises(StoreError, match="format version 99"):
        opened(store)
    assert content(store) == before


STORE_V1 = Path(__file__).parents[1] / "data" / "store_v1"


@pytest.mark.parametrize("is_described", [True, False])
def test_a_damaged_store_of_the_first_format_is_brought_up_to_date(tmp_path, is_described):
    """Its records have no numbers: they are counted."""
    shutil.copytree(STORE_V1, tmp_path / "store")
    blocks = tmp_path / "store" / "camera" / "blocks.vskv"
    flip(blocks, offsets_of(blocks)[2] + HEADS["sizes"])
    flip(blocks, offsets_of(STORE_V1 / "camera" / "blocks.vskv")[3] + HEADS["meta"])
    if not is_described:
        (tmp_path / "store" / "camera" / "stream.json").write_text("")
    for _ in range(2):
        with memory_of(f"file://{tmp_path}/store") as memory:
            assert memory.visible(None) == [0, 1, 4]
            assert memory.thumbnail(4) == kv_stream(5)[4].thumbnail
            assert memory.note == ({"fps": 2.0} if is_described else {})
    with memory_of(f"file://{tmp_path}/store") as memory:
        assert memory.append(kv_block(end_s=5.0)) == 5


# Another process that reads


def test_a_follower_leaves_out_what_the_writer_would_and_changes_nothing(store):
    flip(segments_of(store)[0], 8)
    zero(segments_of(store)[1], 0, None)
    cut(segments_of(store)[2], 100)
    before = content(store)
    with closing(follow_memory(config_of(store), "camera", CPU)) as reader:
        kept = [1, 2, 3, 4, 10, 11, 12, 13]
        assert blocks_of(reader) == kept
        assert content(store) == before
        with opened(store) as writer:
            number = writer.append(block(14))
            reader.refresh()
            assert reader.visible(None) == [*kept, number]


def test_a_follower_takes_a_record_once_it_is_there_as_a_whole(store):
    newest = segments_of(store)[-1]
    whole = newest.read_bytes()
    offsets = offsets_of(newest)
    spoilt = bytearray(whole)
    spoilt[offsets[1] + 8] ^= 1
    newest.write_bytes(spoilt[: offsets[1]])
    with closing(follow_memory(config_of(store), "camera", CPU)) as reader:
        for end in (offsets[1] + 10, offsets[1] + 1000, offsets[2] + 3, offsets[3] - 1):
            newest.write_bytes(spoilt[:end])
            reader.refresh()
            assert reader.visible(None) == list(range(11))
        newest.write_bytes(spoilt[: offsets[3]])
        reader.refresh()
        assert blocks_of(reader) == [*range(11), 12]
        newest.write_bytes(spoilt)
        reader.refresh()
        assert blocks_of(reader) == [*range(11), 12, 13, 14]


def test_a_follower_that_read_a_damaged_row_goes_on_while_segments_are_written_anew(store):
    flip(segments_of(store)[0], segments_of(store)[0].stat().st_size - 100)
    with opened(store) as writer, closing(follow_memory(config_of(store), "camera", CPU)) as reader:
        assert blocks_of(reader) == [n for n in range(NUM) if n != 4]
        assert writer.forget(0.0, 1.0) == 2
        reader.refresh()
        assert blocks_of(reader) == [2, 3, *range(5, NUM)]
        assert writer.visible(None) == reader.visible(None)


# Ageing and forgetting


def test_a_damaged_block_is_forgotten_like_any_other(store):
    path = segments_of(store)[0]
    flip(path, offsets_of(path)[3] - 1)
    with opened(store) as memory:
        assert 2 not in blocks_of(memory)
        assert memory.forget(2.0, 2.0) == 1
        assert memory.forget(2.0, 2.0) == 0
    assert all(block(2).thumbnail not in path.read_bytes() for path in segments_of(store))
    loses(store, [2])


def test_what_ages_or_is_forgotten_beside_a_damaged_row_does_so_without_it(store):
    flip(segments_of(store)[1], segments_of(store)[1].stat().st_size - 100)
    with opened(store) as memory:
        assert memory.forget(5.0, 6.0) == 2
        assert blocks_of(memory) == [*range(5), 7, 8, *range(10, NUM)]
        assert memory.stats().damaged == 1
    with opened(store) as memory:
        assert memory.stats().damaged == 0


def test_a_budget_is_kept_although_rows_are_damaged(store):
    for segment in segments_of(store)[:2]:
        for end in offsets_of(segment)[1:]:
            flip(segment, end - 100)
    with opened(store, file_bytes=1 << 20) as memory:
        for number in range(NUM, 200):
            memory.append(block(number))
        stats = memory.stats()
        assert stats.bytes_by_tier["file"] <= 1 << 20
        assert stats.ageing.coarsened > 0
        assert not set(range(10)) & set(memory.visible(None))


def test_nothing_is_reported_of_what_ages_and_is_forgotten(store):
    with opened(store, retain_s=20) as memory:
        for number in range(NUM, 60):
            memory.append(block(number))
        memory.forget(45.0, 51.0)
        assert memory.first_block > 0
        kept = memory.visible(None)
    with opened(store) as memory:
        assert memory.visible(None) == kept
        assert memory.stats().damaged == 0


# What lies in the middle of a segment


def test_records_that_lie_in_the_rows_of_a_damaged_one_are_not_taken_for_blocks(tmp_path):
    older = kv_record(seed=1).to_bytes()
    outer = BlockRecord(kv_record(seed=3).head, b"", (older * 3, older * 3))
    records = [kv_record(seed=2), outer, kv_record(seed=4)]
    path = tmp_path / "blocks"
    with closing(SegmentFile(path, 0)) as segment:
        for record in records:
            segment.append(record)
    flip(path, len(records[0].to_bytes()))
    with closing(SegmentFile(path, 0)) as segment:
        assert [head.block_id for head in segment.scan()] == [2, 4]


@pytest.mark.parametrize("filling", [b"?", b"V", b"VSKB", b"\0"])
def test_the_next_record_is_found_wherever_it_begins(tmp_path, filling):
    before, after = kv_record(seed=0).to_bytes(), kv_record(seed=1).to_bytes()
    lengths = [1, 31, 32, 33, *range(4090, 4100), *range(12_250, 12_260), 5 << 20]
    for length in lengths:
        path = tmp_path / "blocks"
        path.write_bytes(before + (filling * length)[:length] + after)
        with closing(SegmentFile(path, 0)) as segment:
            assert [head.block_id for head in segment.scan()] == [0, 1], length


@pytest.mark.parametrize("what", ["magics", "heads"])
def test_the_search_for_the_next_record_reads_about_as_much_as_there_is(
    tmp_path, monkeypatch, what
):
    magics = b"VSKB" * (1 << 17)
    damaged_head = bytearray(kv_record(seed=1).to_bytes())
    damaged_head[HEADER_BYTES + 5] ^= 1
    filling = magics if what == "magics" else bytes(damaged_head + b"?") * 1000
    path = tmp_path / "blocks"
    path.write_bytes(kv_record(seed=0).to_bytes() + filling + kv_record(seed=5).to_bytes())
    num_read = 0
    pread = os.pread

    def counted(file, num_bytes, offset):
        nonlocal num_read
        data = pread(file, num_bytes, offset)
        num_read += len(data)
        return data

    with closing(SegmentFile(path, 0)) as segment:
        monkeypatch.setattr("memory.tiers.file.segment_file.os.pread", counted)
        assert [head.block_id for head in segment.scan()] == [0, 5]
    assert num_read < 8 * path.stat().st_size


# Opened by the indexes beside complete segments


def test_an_index_spares_all_but_the_keys_of_complete_segments(indexed, monkeypatch):
    newest, num_bytes = segments_of(indexed)[-1], []
    pread = os.pread

    def counted(file, length, offset):
        data = pread(file, length, offset)
        if os.readlink(f"/proc/self/fd/{file}") != str(newest):
            num_bytes.append(len(data))
        return data

    monkeypatch.setattr("memory.tiers.file.segment_file.os.pread", counted)
    with opened(indexed):
        pass
    assert sum(num_bytes) == 2 * PER_SEGMENT * 4 * LAYERS * KV_HEADS * HEAD_DIM


@pytest.mark.parametrize("part", HEADS)
@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_flipped_bit_in_a_head_costs_nothing_beside_an_index(indexed, part, number):
    path = segments_of(indexed)[0]
    flip(path, offsets_of(path)[number] + HEADS[part])
    loses(indexed, [])


def spoil_index(path, how):
    if how == "flipped":
        for at in range(0, path.stat().st_size, 97):
            flip(path, at)
    elif how == "cut":
        cut(path, 100)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "of version 2":
        buffer = io.BytesIO()
        np.savez(buffer, about=np.zeros(3))
        path.write_bytes(zlib.crc32(buffer.getvalue()).to_bytes(4, "little") + buffer.getvalue())
    elif how == "another's":
        path.write_bytes(indexes_of(path.parents[2])[1].read_bytes())
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "of version 2", "another's", "missing"])
def test_a_spoilt_index_costs_nothing_and_is_written_again(indexed, how):
    before = [path.read_bytes() for path in indexes_of(indexed)]
    spoil_index(indexes_of(indexed)[0], how)
    with opened(indexed) as memory:
        assert blocks_of(memory) == list(range(NUM))
        assert not memory.stats().damaged
    assert [path.read_bytes() for path in indexes_of(indexed)] == before


def test_no_flipped_bit_of_an_index_is_believed(indexed):
    """The blocks are those of the segment, or there is no index."""
    path = segments_of(indexed)[0]
    whole = indexes_of(indexed)[0].read_bytes()
    assert read_index(path) is not None
    with indexes_of(indexed)[0].open("r+b", buffering=0) as index:
        for at, byte in enumerate(whole):
            for bit in range(8):
                os.pwrite(index.fileno(), bytes([byte ^ 1 << bit]), at)
                assert read_index(path) is None
            os.pwrite(index.fileno(), bytes([byte]), at)
    assert read_index(path) is not None


def test_an_old_segment_that_ends_too_early_is_noticed_by_its_index(indexed):
    path = segments_of(indexed)[0]
    os.truncate(path, offsets_of(path)[3])
    for _ in range(2):
        with opened(indexed) as memory:
            assert blocks_of(memory) == [0, 1, 2, *range(PER_SEGMENT, NUM)]
            assert memory.stats().damaged


def test_a_damaged_segment_gets_no_index_and_is_said_at_each_opening(store):
    path = segments_of(store)[0]
    flip(path, offsets_of(path)[2] + HEADS["meta"])
    for _ in range(2):
        with opened(store) as memory:
            assert memory.stats().damaged
    assert [path.stem for path in indexes_of(store)] == [segments_of(store)[1].stem]


def test_no_index_outlives_its_segment(indexed):
    with opened(indexed) as memory:
        assert memory.forget(0.0, 3.0) == 4
        assert memory.forget(6.0, 9.0) == 4
    stems = {path.stem for path in segments_of(indexed)}
    assert {path.stem for path in indexes_of(indexed)} < stems
    with opened(indexed) as memory:
        assert blocks_of(memory) == [4, 5, *range(10, NUM)]
