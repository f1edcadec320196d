"""FileTier: blocks in segments in a folder, within a budget; the store of `file:///DIR`.

FIRST-GENERATION.index  an index of the complete segment of that name (see segment_index)
FIRST-GENERATION.vskv   block records from id FIRST on (see segment_file); the one with the largest
                        FIRST is still being written. If a dying process left two generations of a
                        segment, the newer one is complete and wins.
policy.state            what the memory policy noted, if anything (see state_log)

To make blocks coarser or to forget some, a whole segment is rewritten under the next generation's
name, with `.partial` appended until it is complete; then it is renamed and the old one unlinked.

Damaged records are left out (see segment_file). After the last block of the newest segment they are
cut off, and a segment left without any block is moved into the folder `damaged` beside it, as is
a copy of what `repair` writes again without its damage. If the newest segment may have held higher
ids, a new one is started whose name is above them.
"""

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise, zip_longest
from pathlib import Path

import structlog

from memory.block_record import HEADER_BYTES, BlockHead, BlockRecord
from memory.block_store import BlockStore, Span
from memory.errors import BlockCorruptError, BlockNotFoundError, StoreError
from memory.policy_hooks import State, StateChange, changed
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_index import index_path
from memory.tiers.file.segment_list import SegmentList
from memory.tiers.file.state_log import StateLog
from memory.tiers.file.whole_files import flush_folder, keep_aside, set_aside, store_errors

_log = structlog.get_logger()
MAX_OPEN_FILES = 16
"""Per stream. A process may serve dozens of streams and often has at most 1024 files."""
SEGMENT_NAME = re.compile(r"(\d{12})-(\d{6})\.vskv")


class SegmentFolder:
    """The reading half of stores in files."""

    name = "file"

    def __init__(self, folder: Path) -> None:
        """The caller adds the segments."""
        self._folder = folder
        self._segments: list[SegmentFile] = []
        self.next_id = 0
        self._open: OrderedDict[SegmentFile, None] = OrderedDict()
        self._noted = StateLog(folder / "policy.state")

    @property
    def num_bytes(self) -> int:
        blocks = sum(segment.num_bytes + segment.index_bytes for segment in self._segments)
        return blocks + self._noted.num_bytes

    @property
    def picture_bytes(self) -> int:
        return sum(segment.picture_bytes for segment in self._segments)

    def state(self) -> State:
        return self._noted.state(self.next_id)

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return [self._holding(block_id).read_row(layer, block_id) for block_id in block_ids]

    def read_record(self, block_id: int) -> BlockRecord:
        return self._holding(block_id).read_record(block_id)

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        return [self._holding(block_id).read_thumbnail(block_id) for block_id in block_ids]

    def leave_out(self, block_id: int) -> None:
        self._holding(block_id).leave_out(block_id)

    def close(self) -> None:
        for segment in list(self._open):
            self._let_go(segment)

    def _at(self, block_id: int) -> int:
        at = bisect_right(self._segments, block_id, key=lambda segment: segment.first) - 1
        if at < 0:
            raise BlockNotFoundError(f"{self._folder}: has no block {block_id}")
        return at

    def _holding(self, block_id: int) -> SegmentFile:
        return self._used(self._segments[self._at(block_id)])

    def _used(self, segment: SegmentFile) -> SegmentFile:
        """Return the segment, whose file may now be opened; close the least recently used ones."""
        self._open[segment] = None
        self._open.move_to_end(segment)
        if len(self._open) > MAX_OPEN_FILES:
            self._let_go(next(iter(self._open)))
        return segment

    def _let_go(self, segment: SegmentFile) -> None:
        segment.close()
        self._open.pop(segment, None)


class FileTier(SegmentFolder, BlockStore):
    """A BlockStore in one folder. The caller ensures that nobody else writes it."""

    def __init__(
        self,
        folder: Path,
        segment_bytes: int,
        budget_bytes: int | None = None,
        list_path: Path | None = None,
    ) -> None:
        """End a segment when the next block would make it larger than `segment_bytes`.

        The file at `list_path` lists the segments, see SegmentList. Raises StoreError if the folder
        cannot be used.
        """
        super().__init__(folder)
        self.budget_bytes = budget_bytes
        self._aside = aside_folder(folder.parent)
        self._segment_bytes = segment_bytes
        with store_errors(f"{folder}: cannot be used for blocks"):
            folder.mkdir(parents=True, exist_ok=True)
            paths = self._swept()
        self._segments = [SegmentFile(path, first) for first, path in paths.items()]
        self._list = SegmentList(list_path)
        self._is_flushed = True
        """Whether a power cut would bring no deleted segment back."""
        self._state: State = {}
        self._smallest_bytes = HEADER_BYTES
        """No record of the stream is smaller."""

    def recover(self) -> Iterator[BlockHead]:
        for segment, newer in zip_longest(self._segments, self._segments[1:]):
            below = newer.first if newer else None
            heads = list(self._used(segment).scan(below))
            if heads:
                self.next_id = heads[-1].block_id + 1
                self._smallest_bytes = HEADER_BYTES + heads[-1].index.nbytes
            if segment is not self._segments[-1]:
                segment.write_index(heads)
            yield from heads
        self.damage = self._list.damage_of(self._segments)
        for fault in self.damage:
            _log.error("a store is damaged", what=str(fault))
        with store_errors(f"{self._folder}: cannot be mended"):
            self._mend()
        self._state = self._noted.recover(self.next_id, self._aside)

    def _mend(self) -> None:
        """Cut off or set aside what is no block, and continue above any ids it may have had."""
        newest = self._list.newest(self._segments)
        self.next_id = max(self.next_id, newest)
        is_there = newest < 0 or any(segment.first == newest for segment in self._segments)
        lost_bytes = 0 if is_there else self._segment_bytes
        for segment in list(self._segments):
            if self._list.is_spent(segment, newest):
                if segment.first == newest:
                    lost_bytes = max(self._segment_bytes, segment.rest_bytes)
                self._set_aside(segment)
            elif segment.first == newest:
                missing = self._list.missing_at_end(segment)
                is_finished = missing > 0 or not segment.has_part
                if is_finished:
                    lost_bytes = max(missing * self._smallest_bytes, segment.rest_bytes)
                if not is_finished or self._keeps_rest(segment):
                    self.cut_bytes += self._used(segment).cut()
        if lost_bytes:
            self.next_id += 1 + lost_bytes // self._smallest_bytes
            self._begin(self.next_id)
        self._list.set_aside(self._aside)
        self._list.write({one.first: len(one.block_ids) for one in self._segments if one.block_ids})

    def _keeps_rest(self, segment: SegmentFile) -> bool:
        """Keep what follows the last record, unless it is zeros, as after a power cut. If that
        fails, as on a full disk, it stays where it is.
        """
        if (rest := self._used(segment).rest()).strip(b"\0"):
            try:
                keep_aside(rest, f"{segment.path.name}.from-{segment.num_bytes}", self._aside)
            except OSError:
                return False
        return True

    def repair(self, heads: Iterable[BlockHead]) -> None:
        """Write again, without their damage, the segments that have any; keep copies aside.

        `heads` is what `recover` yielded. A block with a damaged picture stays without it. Raises
        StoreError; a segment is then as it was, or repaired.
        """
        heads_of: dict[SegmentFile, list[BlockHead]] = {}
        for head in heads:
            heads_of.setdefault(self._holding(head.block_id), []).append(head)
        for segment, of_it in heads_of.items():
            if self._is_sound(segment):
                continue
            if segment is self._segments[-1]:
                self._begin(self.next_id)
            left = {head.block_id: self._used(segment).sound_record(head) for head in of_it}
            with store_errors(f"{self._aside}: cannot be written"):
                keep_aside(segment.path.read_bytes(), segment.path.name, self._aside)
            records = {block_id: record for block_id, record in left.items() if record}
            self.replace(segment.block_ids, records)

    def _is_sound(self, segment: SegmentFile) -> bool:
        try:
            for block_id in segment.block_ids:
                self._used(segment).read_record(block_id)
        except BlockCorruptError:
            return False
        return not segment.damage(is_newest=False)

    def has_room(self, record: BlockRecord) -> bool:
        """Return whether it fits beside the copy of a segment that is being rewritten."""
        if self.budget_bytes is None:
            return True
        num_bytes = len(record.to_bytes())
        largest = max((segment.num_bytes for segment in self._segments), default=0)
        copy_bytes = max(self._segment_bytes, largest, num_bytes)
        return self.num_bytes + num_bytes + copy_bytes <= self.budget_bytes

    def put(self, record: BlockRecord) -> None:
        block_id = record.head.block_id
        assert block_id >= self.next_id, "blocks are put in order"
        newest = self._segments[-1] if self._segments else None
        is_full = newest and newest.num_bytes + record.num_bytes > self._segment_bytes
        if newest is None or (is_full and newest.block_ids):
            newest = self._begin(block_id)
        if record.noted:
            self._noted.append(block_id, record.noted)
        self._used(newest).append(record)
        if not self._list.holds(newest):
            self._list_newest()
        self.next_id = block_id + 1  # last, because others read it: the block is written and listed
        if record.noted:
            self._take_state(record.noted)

    def note(self, noted: StateChange) -> None:
        self._noted.append(self.next_id - 1, noted)
        self._take_state(noted, is_thorough=None in noted.values() or not noted)

    def _take_state(self, noted: StateChange, is_thorough: bool = False) -> None:
        """Update the state; if thorough, rewrite the file so that no deleted note remains in it."""
        self._state = changed(self._state, noted)
        if is_thorough or not self._state or self._noted.is_stale(self._state):
            self._sync()
            self._noted.rewrite(self.next_id - 1, self._state)

    def spans(self) -> list[Span]:
        return [
            Span(segment.first, newer.first, segment.block_ids)
            for segment, newer in pairwise(self._segments)
            if segment.block_ids
        ]

    def has_pictures(self, span: Span) -> bool:
        return self._segments[self._at(span.first)].picture_bytes > 0

    def close_span(self) -> None:
        if self._segments and self._segments[-1].block_ids:
            self._begin(self.next_id)

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        at = self._at(block_ids[0])
        old = self._segments[at]
        assert old.block_ids == tuple(block_ids), "a segment is rewritten in one piece"
        _, generation = segment_numbers(old.path)
        new = SegmentFile(segment_path(self._folder, old.first, generation + 1), old.first)
        partial = SegmentFile(new.path.with_suffix(".vskv.partial"), old.first)
        try:
            with store_errors(f"{partial.path}: cannot be written"):
                if records:
                    partial.cut()  # if one was left that could not be deleted
                    for block_id in filter(records.__contains__, block_ids):
                        partial.append(records[block_id])
                    partial.flush()
                self._list.take(old, len(records))
                for path in (index_path(new.path), new.path):  # left by one that failed
                    path.unlink(missing_ok=True)
                if records:
                    partial.path.rename(new.path)
                    flush_folder(self._folder)  # before the old one goes
                    new.write_index(list(new.scan()))
                index_path(old.path).unlink(missing_ok=True)
                old.path.unlink()
        finally:
            new.close()
            partial.close()
            with suppress(OSError):
                partial.path.unlink(missing_ok=True)
        # Only now: if any of that fails, the old one is still read, and may be replaced again. When
        # the folder is opened, the new one wins.
        self._let_go(old)
        self._segments[at : at + 1] = [new] if records else []
        self._is_flushed = False
        with suppress(StoreError):  # else `flush` says so: the old one is gone
            self._flush_folder()

    def leave_out(self, block_id: int) -> None:
        segment = self._segments[self._at(block_id)]
        segment.leave_out(block_id)
        if not segment.block_ids and segment is not self._segments[-1]:
            with store_errors(f"{segment.path}: cannot be renamed"):
                self._set_aside(segment)

    def flush(self) -> None:
        self._sync()

    def close(self) -> None:
        try:
            self._sync()
            self._list_newest()
        finally:
            super().close()

    def _sync(self) -> None:
        self._noted.flush()
        for segment in self._segments[-1:]:
            self._used(segment).flush()
        self._flush_folder()

    def _flush_folder(self) -> None:
        if not self._is_flushed:
            with store_errors(f"{self._folder}: cannot be flushed"):
                flush_folder(self._folder)
            self._is_flushed = True

    def _swept(self) -> dict[int, Path]:
        """Return each segment's newest generation; delete what dying processes left."""
        newest = newest_segments(self._folder)
        kept = {*newest.values(), *map(index_path, newest.values())}
        for path in self._folder.iterdir():
            is_ours = SEGMENT_NAME.fullmatch(path.with_suffix(".vskv").name) is not None
            is_old = is_ours and path.suffix in (".vskv", ".index") and path not in kept
            if path.suffix == ".partial" or is_old:
                path.unlink()
        return newest

    def _set_aside(self, segment: SegmentFile) -> None:
        """Keep the file, but no longer count it as a segment."""
        self._list.take(segment, 0)
        self._let_go(segment)
        index_path(segment.path).unlink(missing_ok=True)
        aside = set_aside(segment.path, self._aside)
        self._segments.remove(segment)
        _log.error("a segment without a block is set aside", file=str(aside))

    def _list_newest(self) -> None:
        """List how many blocks the newest segment holds."""
        for newest in self._segments[-1:]:
            self._list.count(newest)
            self._list.write(self._list.blocks)

    def _begin(self, first: int) -> SegmentFile:
        """Start a new newest segment; the last one is now complete."""
        self._sync()
        for complete in self._segments[-1:]:
            with closing(SegmentFile(complete.path, complete.first, read_only=True)) as scanned:
                scanned.write_index(list(scanned.scan()))
            complete.index_bytes = scanned.index_bytes
            self._list.count(complete)
        segment = SegmentFile(segment_path(self._folder, first, 0), first)
        with store_errors(f"{segment.path}: cannot be begun"):
            self._used(segment).cut()  # creates the file, whose name preserves the next id
            self._segments.append(segment)  # from here on no block goes into the one before
            flush_folder(self._folder)
        return segment


def aside_folder(stream: Path) -> Path:
    """Return where damaged files of the stream in that folder are moved to."""
    return stream / "damaged"


def newest_segments(folder: Path) -> dict[int, Path]:
    """Return the newest generation of each segment in the folder, by first id, in order."""
    paths = sorted(path for path in folder.iterdir() if SEGMENT_NAME.fullmatch(path.name))
    return {segment_numbers(path)[0]: path for path in paths}


def segment_path(folder: Path, first: int, generation: int) -> Path:
    return folder / f"{first:012d}-{generation:06d}.vskv"


def segment_numbers(path: Path) -> tuple[int, int]:
    """Return first id and generation."""
    match = SEGMENT_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])
