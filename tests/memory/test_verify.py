"""What `verify` and `repair` say and do, apart from what test_damage_matrix tries at random."""

import re
import shutil

import pytest
from damaged_store import (
    NUM,
    add_zeros,
    block,
    blocks_of,
    content,
    descriptions,
    flip,
    offsets_of,
    opened,
    segments_of,
    write_sound,
)

from memory import StoreError, repair_stored, verify_stored
from memory.tiers.file.whole_files import unchecked


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    write_sound(folder)
    return folder


@pytest.fixture
def store(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "store")
    return tmp_path / "store"


def verified(folder):
    (report,) = verify_stored(f"file://{folder}")
    return report


def repaired(folder):
    return repair_stored(f"file://{folder}", "camera")


def aside(folder):
    return sorted(path.name for path in (folder / "camera").glob("damaged/*"))


def full(data, name, folder):
    raise OSError(28, "No space left on device")


def test_a_list_of_segments_that_cannot_be_read_is_moved_aside(store):
    (store / "camera" / "segments.json").write_text("?")
    assert repaired(store).faults == ()
    assert (store / "camera" / "damaged" / "segments.json").read_text() == "?"


def damage_here_and_there(store):
    first, second, newest = segments_of(store)
    flip(first, 8)  # block 0
    flip(second, offsets_of(second)[2] - 1)  # a row of block 6
    flip(second, second.read_bytes().index(block(8).thumbnail))
    newest.write_bytes(b"?" * 100)
    descriptions(store)[0].write_text("")


def test_each_fault_is_named_with_its_place_and_its_blocks(store):
    damage_here_and_there(store)
    first, second, newest = segments_of(store)
    _, end, *_ = offsets_of(second)  # the blocks are of one size
    report = verified(store)
    assert not report.is_live
    assert (report.blocks, report.lost) == (8, 7)
    told = {re.split(r": (?!b)| at ", fault.what)[0]: fault.blocks for fault in report.faults}
    assert told == {
        str(descriptions(store)[0]): 0,
        f"{first}: bytes 0 to {end}": 1,
        f"{second}: block 6": 1,
        f"{second}: block 8": 0,
        str(newest): 5,
    }


def test_a_repair_moves_what_is_damaged_aside_and_keeps_the_rest(store):
    damage_here_and_there(store)
    before = content(store)
    names = [path.name for path in segments_of(store)]
    report = repaired(store)
    assert (report.blocks, report.faults) == (8, ())
    assert report.set_aside == str(store / "camera" / "damaged")
    assert aside(store) == sorted([*names, descriptions(store)[0].name])
    kept = {path.name: data for path, data in before.items()}
    for path in (store / "camera").glob("damaged/*"):
        assert path.read_bytes() == kept[path.name]
    with opened(store) as memory:
        assert blocks_of(memory) == [1, 2, 3, 4, 5, 7, 8, 9]
        assert memory.thumbnail(8) == b""
        assert not memory.stats().damage
        assert memory.append(block(NUM)) >= NUM


def test_a_sound_store_is_repaired_by_changing_nothing_in_it(store):
    before = [(path.name, path.read_bytes()) for path in segments_of(store)]
    assert not repaired(store).faults
    assert [(path.name, path.read_bytes()) for path in segments_of(store)] == before
    assert aside(store) == []


def test_what_may_be_a_block_is_kept_when_it_is_cut_off_and_zeros_are_not(store):
    add_zeros(segments_of(store)[-1], 5000)
    assert not repaired(store).faults
    assert aside(store) == []
    newest = segments_of(store)[1]
    for path in segments_of(store)[2:]:
        path.unlink()
    (store / "camera" / "segments.json").unlink()
    start = offsets_of(newest)[4]
    whole = newest.read_bytes()
    flip(newest, start + 8)
    report = repaired(store)
    assert (report.blocks, report.faults) == (9, ())
    assert aside(store) == [f"{newest.name}.from-{start}"]
    kept = bytearray((store / "camera" / "damaged" / aside(store)[0]).read_bytes())
    kept[8] ^= 1
    assert kept == whole[start:]


def test_what_cannot_be_kept_is_not_cut_off(store, monkeypatch):
    newest = segments_of(store)[-1]
    flip(newest, offsets_of(newest)[4] + 8)
    before = newest.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("memory.tiers.file.file_tier.keep_aside", full)
        with opened(store) as memory:
            assert memory.append(block(NUM)) >= NUM
    assert newest.read_bytes() == before
    with opened(store) as memory:
        assert blocks_of(memory) == [*range(NUM - 1), NUM]


def test_a_second_repair_does_not_overwrite_what_the_first_moved_aside(store):
    for _ in range(2):
        descriptions(store)[0].write_text("")
        assert not repaired(store).faults
    assert aside(store) == ["stream-copy.json", "stream-copy.json.2"]


def test_what_was_moved_aside_goes_with_what_is_forgotten(store):
    damage_here_and_there(store)
    repaired(store)
    with opened(store) as memory:
        memory.forget(2.0, 2.0)
    assert aside(store) == []
    assert verified(store).set_aside is None


def test_a_stream_that_is_being_written_is_verified_and_not_repaired(store):
    with opened(store) as memory:
        report = verified(store)
        assert (report.is_live, report.blocks, report.faults) == (True, NUM, ())
        with pytest.raises(StoreError, match="is being written"):
            repaired(store)
        memory.append(block(NUM))
        flip(segments_of(store)[0], 8)
        report = verified(store)
        assert (report.blocks, report.lost) == (NUM, 1)


def test_a_block_that_was_never_finished_is_a_fault_of_a_stream_that_nobody_writes(store):
    newest = segments_of(store)[-1]
    whole = newest.read_bytes()
    with newest.open("ab") as file:
        file.write(whole[: offsets_of(newest)[1] // 2])
    (fault,) = verified(store).faults
    assert "never finished" in fault.what
    assert fault.blocks == 0
    with opened(store) as memory:
        assert memory.num_blocks == NUM, "the next writer cuts it off"
    assert not verified(store).faults


def test_blocks_that_the_writer_moves_or_forgets_meanwhile_are_no_faults(store, monkeypatch):
    from memory.tiers.file.segment_file import SegmentFile

    read_record = SegmentFile.read_record
    with opened(store) as memory:

        def meanwhile(self, block_id):
            if block_id == 1:
                monkeypatch.setattr(SegmentFile, "read_record", read_record)
                memory.forget(5.0, 6.0)
                memory.forget(2.0, 2.0)
            return read_record(self, block_id)

        monkeypatch.setattr(SegmentFile, "read_record", meanwhile)
        report = verified(store)
    assert report.faults == ()
    assert NUM - 3 <= report.blocks <= NUM


def test_no_changed_letter_of_a_description_goes_unnoticed(store):
    """Not even one that JSON does not mind, such as a tab for a space."""
    text = descriptions(store)[0].read_text()
    assert unchecked(text)
    for at, letter in enumerate(text):
        for other in ({chr(ord(letter) ^ 1 << bit) for bit in range(7)} | set(" \t\n")) - {letter}:
            with pytest.raises(ValueError, match=r"."):
                unchecked(text[:at] + other + text[at + 1 :])
    descriptions(store)[0].write_bytes(text.replace("\n", "\r", 1).encode())
    assert verified(store).faults


def test_a_stream_of_which_nothing_can_be_read_is_reported_beside_the_others(store):
    shutil.copytree(store / "camera", store / "door")
    for path in [*descriptions(store), *segments_of(store)]:
        path.write_bytes(b"")
    lost, other = verify_stored(f"file://{store}")
    assert (lost.id, lost.blocks) == ("camera", 0)
    assert "restore it from a copy" in str(lost.faults[0])
    assert (other.id, other.blocks, other.faults) == ("door", NUM, ())
    with pytest.raises(StoreError, match="restore it from a copy"):
        repaired(store)


def test_a_repair_that_finds_no_room_leaves_the_store_as_it_was(store, monkeypatch):
    flip(segments_of(store)[0], offsets_of(segments_of(store)[0])[1] - 1)
    before = content(store)
    monkeypatch.setattr("memory.tiers.file.file_tier.keep_aside", full)
    with pytest.raises(StoreError, match="No space left"):
        repaired(store)
    assert {path: content(store)[path] for path in segments_of(store)} == {
        path: before[path] for path in segments_of(store)
    }
    monkeypatch.undo()
    assert repaired(store).blocks == NUM - 1
