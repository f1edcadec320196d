"""Whatever one damage does to a store of three segments: it opens, loses at most what the damage
touches and returns nothing else than was put; `verify` finds it, and `repair` makes it sound.
"""

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from damaged_store import (
    NOTE,
    NUM,
    PAGE_BYTES,
    block,
    blocks_of,
    config_of,
    content,
    flip,
    offsets_of,
    opened,
    write_sound,
    zero,
)
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU

from memory import follow_memory, repair_stored, stored_streams, verify_stored


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two sound stores, not to be changed: as segments of few blocks lie, and with indexes."""
    folders = []
    for few_blocks in (16, 1):
        folder = tmp_path_factory.mktemp("sound")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("memory.tiers.file.segment_file._FEW_BLOCKS", few_blocks)
            write_sound(folder)
            (report,) = verify_stored(f"file://{folder}")
        assert (report.blocks, report.faults) == (NUM, ())
        folders.append((folder, few_blocks))
    return folders


def damaged(draw, folder):
    """Spoil one file. Return the numbers of the blocks that it may cost, and if it can be noticed:
    policies may note nothing, so the end of their notes cannot be missed.
    """
    files = [path for path in content(folder / "camera") if path.name != "writer.lock"]
    path = draw(st.sampled_from(files))
    whole = path.read_bytes()
    is_segment = path.suffix == ".vskv"
    offsets = offsets_of(path) if is_segment else [0, len(whole)]
    first = int(path.name[:12]) if is_segment else NUM
    kind = draw(st.sampled_from(["flip", "flip", "cut", "page", "hole", "empty", "remove"]))
    start, end = 0, len(whole)
    if kind == "flip":
        start = draw(st.integers(0, end - 1))
        end = start + 1
        flip(path, start, draw(st.integers(1, 255)))
    elif kind == "cut":
        start = draw(st.sampled_from(offsets[:-1]) | st.integers(0, end - 1))
        os.truncate(path, start)
    elif kind == "page":
        start = draw(st.integers(0, (end - 1) // PAGE_BYTES)) * PAGE_BYTES
        end = start + PAGE_BYTES
        zero(path, start, end)
    elif kind == "hole":
        start, end = sorted(draw(st.tuples(*[st.integers(0, end)] * 2)))
        zero(path, start, end)
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    touched = {
        first + at
        for at in range(len(offsets) - 1)
        if offsets[at] < end and start < offsets[at + 1]
    }
    is_changed = not path.exists() or path.read_bytes() != whole
    are_notes_cut = path.name == "policy.state" and kind in ("cut", "empty", "remove")
    return touched & set(range(NUM)), is_changed and not are_notes_cut


def read_of(memory):
    """The numbers of its blocks and their pictures; all are what was put, or damaged."""
    numbers = blocks_of(memory)
    return numbers, [memory.thumbnail(number) for number in numbers if number < NUM]


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_damage_costs_what_it_touches_and_is_found_and_repaired(stores, data):
    sound, few_blocks = data.draw(st.sampled_from(stores))
    with tempfile.TemporaryDirectory() as parent, pytest.MonkeyPatch.context() as patch:
        patch.setattr("memory.tiers.file.segment_file._FEW_BLOCKS", few_blocks)
        patch.setattr(os, "fsync", lambda file: None)  # nobody cuts the power
        folder = Path(parent) / "store"
        shutil.copytree(sound, folder)
        touched, is_found = damaged(data.draw, folder)
        before = content(folder)

        (report,) = verify_stored(f"file://{folder}")
        with closing(follow_memory(config_of(folder), "camera", CPU)) as reader:
            seen = read_of(reader)
        assert stored_streams(f"file://{folder}")[0].error is None
        assert content(folder) == before, "readers change nothing"
        assert set(range(NUM)) - set(seen[0]) <= touched
        assert (report.blocks, report.lost) == (len(seen[0]), NUM - len(seen[0]))
        assert report.faults or not is_found

        repaired = Path(parent) / "repaired"
        shutil.copytree(folder, repaired)
        report = repair_stored(f"file://{repaired}", "camera")
        assert (report.blocks, report.faults) == (len(seen[0]), ())

        for after in (folder, repaired):
            with opened(after) as memory:
                assert read_of(memory) == seen
                assert memory.note == NOTE
                assert memory.append(block(NUM)) >= NUM
            with opened(after) as memory:
                assert blocks_of(memory) == [*seen[0], NUM]
