"""A disk that fails, or a writer that dies, between any two operations on the files of a store."""

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from damaged_store import (
    NUM,
    blocks_of,
    config_of,
    content,
    offsets_of,
    opened,
    segments_of,
    write_sound,
)
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, LAYERS, kv_block, kv_record

from memory import FileTier, StoreError, follow_memory, repair_stored, verify_stored

SEGMENT_BYTES = 6000
"""For at least two blocks."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "close span", "thin", "let go", "open"]),
        st.integers(0, 99),
    ),
    max_size=30,
)


class Killed(BaseException):
    """The process dies here: nothing that it does from then on happens."""


class Operations:
    """What changes files or waits for the disk; `before` sees each call."""

    def __init__(self, monkeypatch):
        for owner, name in (
            (os, "fsync"),
            (os, "pwrite"),
            (os, "ftruncate"),
            (Path, "unlink"),
            (Path, "rename"),
            (Path, "replace"),
        ):
            monkeypatch.setattr(owner, name, self._watched(getattr(owner, name), name))

    def _watched(self, operation, name):
        def done(*arguments, **options):
            self.before(name, operation, arguments)
            if name != "fsync":  # nobody cuts the power
                return operation(*arguments, **options)
            return None

        return done

    def before(self, name, operation, arguments):
        """Raise what shall fail."""


def write_half(operation, arguments):
    file, part, offset = arguments
    operation(file, part[: len(part) // 2], offset)


class Mortal(Operations):
    """They end at the one numbered `dies_at`."""

    def __init__(self, monkeypatch, dies_at):
        self._left = dies_at
        super().__init__(monkeypatch)

    def before(self, name, operation, arguments):
        self._left -= 1
        if self._left > 0:
            return
        if self._left == 0 and name == "pwrite":
            write_half(operation, arguments)
        raise Killed


class Failing(Operations):
    """Once told to, they fail; of what is written then, half arrives."""

    def __init__(self, monkeypatch, error):
        self._numbers, self._error = range(0), error
        self._number = 0
        super().__init__(monkeypatch)

    def fail(self, first, count):
        """From the one numbered `first` from now on, fail in `count`."""
        self._numbers = range(self._number + first, self._number + first + count)
        self.has_failed = False

    def recover(self):
        self._numbers = range(0)

    def before(self, name, operation, arguments):
        self._number += 1
        if self._number not in self._numbers:
            return
        self.has_failed = True
        if name == "pwrite":
            write_half(operation, arguments)
        raise OSError(self._error, os.strerror(self._error))


class Writer:
    """Writes blocks; knows which may be in the folder: what it has done for sure, and with or
    without what it has begun.
    """

    def __init__(self, folder):
        self.folder = folder
        self._records = {}
        self.maybe = [set()]

    def do(self, step, choice):
        tier = self.tier
        if step == "open":
            tier.close()
            self.open()
        elif step == "put":
            record = kv_record(seed=tier.next_id, tokens=1 + choice % 60)
            self._records[record.head.block_id] = record
            with self._changing(lambda ids: ids | {record.head.block_id}):
                tier.put(record)
        elif step == "close span":
            tier.close_span()
        elif spans := tier.spans():
            ids = spans[choice % len(spans)].block_ids
            kept = ids[::2] if step == "thin" else ()
            records = {i: tier.read_record(i) for i in kept}
            with self._changing(lambda before: before - (set(ids) - set(kept))):
                tier.replace(ids, records)

    @contextmanager
    def _changing(self, change):
        before, after = self.maybe, [change(ids) for ids in self.maybe]
        self.maybe = [*before, *after]
        yield
        self.maybe = after

    def must(self, step, choice, why):
        """Do it; return whether it worked. What fails is a StoreError that says `why`."""
        before = self.maybe
        try:
            self.do(step, choice)
        except StoreError as error:
            told = str(error)
        else:
            return True
        assert why in told
        if step == "put":
            self.maybe = before
        return False

    def open_again(self, most):
        """Close it, and open it as soon as that works, after `most` failures at the latest."""
        with suppress(StoreError):
            self.tier.close()
        for _ in range(most):
            with suppress(StoreError):
                return self.open()
        return self.open()

    def open(self):
        listed = self.folder / "segments.json"
        self.tier = tier = FileTier(self.folder / "segments", SEGMENT_BYTES, None, listed)
        found = {head.block_id for head in tier.recover()}
        assert list(tier.damage) == []
        assert found in self.maybe
        self.maybe = [found]
        for block_id in found:
            assert tier.read_record(block_id).to_bytes() == self._records[block_id].to_bytes()


@given(steps=STEPS, dies_at=st.integers(1, 120))
@settings(max_examples=examples(150))
def test_nothing_is_lost_or_reported_whenever_the_writer_dies(steps, dies_at):
    """What was there before a step or after it is there."""
    with tempfile.TemporaryDirectory() as parent:
        writer = Writer(Path(parent))
        with pytest.MonkeyPatch.context() as patched, suppress(Killed):
            Mortal(patched, dies_at)
            writer.open()
            for step in steps:
                writer.do(*step)
            writer.tier.close()
        for _ in range(2):
            writer.open()
            writer.tier.close()


@given(
    steps=STEPS,
    at=st.integers(0, 29),
    first=st.integers(1, 12),
    count=st.integers(1, 6),
    error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS]),
)
@settings(max_examples=examples(150))
def test_nothing_is_lost_or_reported_when_the_disk_fails_for_a_while(
    steps, at, first, count, error
):
    """The writer goes on, or opens the folder again. A block that was not put is not there."""
    with tempfile.TemporaryDirectory() as parent:
        writer = Writer(Path(parent))
        writer.open()
        with pytest.MonkeyPatch.context() as patched:
            disk = Failing(patched, error)
            for number, (step, choice) in enumerate(steps):
                if number == at:
                    disk.fail(first, count)
                is_done = writer.must(step, choice, os.strerror(error))
                if not is_done and (step == "open" or choice % 2):
                    writer.open_again(count)
        for _ in range(2):
            writer.open_again(0)
        writer.tier.close()


@pytest.mark.parametrize("then", ["open", "the same", "let go"])
@pytest.mark.parametrize("step", ["put", "close span", "thin", "let go", "open"])
def test_each_operation_of_each_step_may_fail(tmp_path, monkeypatch, step, then):
    """Also several in a row; what the step did or not is then done for good."""
    disk = Failing(monkeypatch, errno.EIO)
    for count in (1, 2, 3):
        for first in range(1, 30):
            writer = Writer(tmp_path / f"{count}-{first}")
            writer.open()
            for choice in (59, 59, 20, 1):
                writer.do("put", choice)
            assert writer.tier.spans(), "there is something to let go"
            disk.fail(first, count)
            is_done = writer.must(step, 59, "Input/output error")
            if not disk.has_failed:  # the step had fewer operations
                disk.recover()
                writer.tier.close()
                break
            if "open" in (step, then):
                writer.open_again(count)
            else:
                while not is_done:
                    again = step if then == "the same" else then
                    is_done = writer.must(again, 0, "Input/output error")
                left = [path.name[:12] for path in (writer.folder / "segments").glob("*.vskv")]
                assert len(left) == len(set(left)), "no generation is left behind"
                writer.must("put", 1, "Input/output error")
            disk.recover()
            writer.open_again(0)
            writer.tier.close()


AGEING = {"codec": "int8", "file_bytes": 1 << 20}


def long_block(number):
    return kv_block(tokens=500, end_s=float(number), seed=number)


def require_close(memory):
    """Whatever codec they are in by now, the oldest blocks are read as what was put."""
    for block_id in memory.visible(None)[:6]:
        wanted = long_block(block_id)
        keys, values = memory.read(0, [block_id], torch.float32, CPU)
        assert torch.allclose(keys, wanted.keys[0], atol=0.6)
        assert torch.allclose(values, wanted.values[0], atol=0.6)


def test_blocks_are_read_as_they_lie_although_the_disk_fails_while_they_age(tmp_path, monkeypatch):
    """Each operation by which a segment is made coarser fails once."""
    sound = tmp_path / "sound"
    with opened(sound, **AGEING) as memory:
        while memory._store.has_room(memory.encoded(block := long_block(memory.num_blocks))):
            memory.append(block)
    for first in range(1, 40):
        folder = tmp_path / str(first)
        shutil.copytree(sound, folder)
        with monkeypatch.context() as patch, opened(folder, **AGEING) as memory:
            disk = Failing(patch, errno.EIO)
            disk.fail(first, 1)
            is_put = False
            while not is_put:
                with suppress(StoreError):
                    is_put = memory.append(long_block(memory.num_blocks)) > 0
                require_close(memory)
            disk.recover()
            assert memory.stats().ageing.coarsened
        with opened(folder, **AGEING) as memory:
            assert not memory.stats().damage
            require_close(memory)
        if not disk.has_failed:  # it had fewer operations
            break
    assert first > 10


def test_nothing_is_reported_forgotten_before_the_disk_has_done_it(tmp_path, monkeypatch):
    write_sound(tmp_path / "sound")
    for first in range(1, 40):
        shutil.copytree(tmp_path / "sound", folder := tmp_path / str(first))
        with monkeypatch.context() as patch, opened(folder) as memory:
            disk = Failing(patch, errno.EIO)
            disk.fail(first, 100)
            try:
                memory.forget(0.0, 6.0)
            except StoreError:
                is_done = False
            else:
                is_done = True
            disk.recover()
        assert is_done != disk.has_failed
        if is_done:
            break
    assert first > 10
    with opened(folder) as memory:
        assert blocks_of(memory) == list(range(7, NUM))


def test_a_store_that_cannot_be_written_is_read_and_verified(tmp_path, monkeypatch):
    write_sound(tmp_path)
    before, opened_file = content(tmp_path), os.open

    def read_only(path, flags, *mode, **more):
        if flags & (os.O_WRONLY | os.O_RDWR) and str(tmp_path) in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened_file(path, flags, *mode, **more)

    monkeypatch.setattr(os, "open", read_only)
    for refused in (opened, lambda folder: repair_stored(f"file://{folder}", "camera")):
        with pytest.raises(StoreError, match=r"camera: cannot be used .*Read-only file system; ch"):
            refused(tmp_path)
    with follow_memory(config_of(tmp_path), "camera", CPU) as reader:
        assert blocks_of(reader) == list(range(NUM))
    (report,) = verify_stored(f"file://{tmp_path}")
    assert (report.blocks, report.faults) == (NUM, ())
    assert content(tmp_path) == before


def test_a_sector_that_cannot_be_read_is_a_fault_and_costs_nothing_else(tmp_path, monkeypatch):
    """The disk may find it again: nothing is cut off, moved or written because of it."""
    write_sound(tmp_path)
    segment = segments_of(tmp_path)[1]
    before, pread = content(tmp_path), os.pread
    start = offsets_of(segment)[2] - 100  # the last row of block 6

    def failing(file, num_bytes, offset):
        is_there = offset < start + 50 and start < offset + num_bytes
        if is_there and os.readlink(f"/proc/self/fd/{file}") == str(segment):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(file, num_bytes, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", failing)
        (report,) = verify_stored(f"file://{tmp_path}")
        assert (report.blocks, report.lost) == (NUM - 1, 1)
        (fault,) = report.faults
        assert fault.what.startswith(f"{segment}: block 6")
        assert fault.what.endswith(": Input/output error")
        with follow_memory(config_of(tmp_path), "camera", CPU) as reader:
            with pytest.raises(StoreError, match=r"block 6 .*cannot be read: Input/output error"):
                reader.read(LAYERS - 1, [5, 6, 7], torch.float32, CPU)
            reader.read(LAYERS - 1, [5, 7], torch.float32, CPU)
        with pytest.raises(StoreError, match="Input/output error"):
            repair_stored(f"file://{tmp_path}", "camera")
    after = content(tmp_path)
    assert all(after[path] == before[path] for path in segments_of(tmp_path))
    with opened(tmp_path) as memory:
        assert blocks_of(memory) == list(range(NUM))
        assert not memory.stats().damage
