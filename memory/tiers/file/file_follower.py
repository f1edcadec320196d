"""FileFollower: follows the blocks in a folder that another process writes.

The writer appends to the newest segment and replaces others whole (see file_tier). A replaced
segment that is open here stays readable until the next look for changes. Damaged records are left
out, as the writer leaves them out. Bytes after the last record of the newest segment are records
still being written, or remains that the next writer will cut off.
"""

from pathlib import Path

from memory.block_record import BlockHead
from memory.block_store import Changes, FollowedSource
from memory.errors import BlockNotFoundError, StoreError
from memory.fault import Fault
from memory.tiers.file.file_tier import SegmentFolder, newest_segments
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_list import SegmentList

_ATTEMPTS = 5
"""A segment may be replaced between listing the folder and opening the segment."""


class FileFollower(SegmentFolder, FollowedSource):
    """Reads a folder on this machine and changes nothing there."""

    def __init__(self, folder: Path, list_path: Path | None = None) -> None:
        """The file at `list_path` lists the segments, see SegmentList."""
        super().__init__(folder)
        self._list_path = list_path
        self._listed = SegmentList(list_path)
        self._scanned: dict[int, SegmentFile] = {}

    def changes(self) -> Changes:
        """See FollowedSource. Raises StoreError if the folder cannot be read."""
        heads: dict[int, BlockHead] = {}
        gone: set[int] = set()
        for attempt in range(_ATTEMPTS):
            try:
                self._look(heads, gone)
                break
            except BlockNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
        return Changes([heads[block_id] for block_id in sorted(heads)], gone)

    def damage(self) -> list[Fault]:
        listed = SegmentList(self._list_path)
        listed.meet(self._listed)
        return listed.damage_of(self._segments)

    def harmless_faults(self) -> list[Fault]:
        newest = self._segments[-1] if self._segments else None
        faults = [one.index_fault(one is newest) for one in self._segments]
        if newest is not None and newest.has_part and not self._listed.missing_at_end(newest):
            where = f"{newest.path}: bytes {newest.num_bytes} and on"
            faults.append(Fault(f"{where}: a block that was never finished"))
        if not self._listed.is_there and any(one.block_ids for one in self._segments):
            faults.append(Fault(f"{self._list_path}: is missing"))
        return [*filter(None, faults), *filter(None, [self._noted.fault()])]

    def _look(self, heads: dict[int, BlockHead], gone: set[int]) -> None:
        found = self._found()
        newest_before = self._segments[-1].first if self._segments else 0
        below = dict(zip(found, [*list(found)[1:], None], strict=False))
        for first in [first for first in self._scanned if first not in found]:
            self._lose(self._scanned.pop(first), heads, gone)
        for first, path in found.items():
            old = self._scanned.get(first)
            if old is None or old.path != path:
                new = self._segment_at(path, first)
                fresh = {head.block_id: head for head in self._used(new).scan(below[first])}
                if old is not None:
                    self._lose(old, heads, gone)
                self._scanned[first] = new
            elif first >= newest_before:
                fresh = {head.block_id: head for head in self._used(old).scan(below[first])}
            else:
                continue
            heads.update(fresh)
            gone -= set(fresh)
        self._segments = [self._scanned[first] for first in sorted(self._scanned)]
        ends = [s.block_ids[-1] + 1 if s.block_ids else s.first for s in self._segments]
        self.next_id = max(self.next_id, *ends, 0)

    def _segment_at(self, path: Path, first: int) -> SegmentFile:
        return SegmentFile(path, first, read_only=True)

    def _found(self) -> dict[int, Path]:
        try:
            return newest_segments(self._folder) if self._folder.is_dir() else {}
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be read: {error}") from error

    def _lose(self, segment: SegmentFile, heads: dict[int, BlockHead], gone: set[int]) -> None:
        self._let_go(segment)
        for block_id in segment.block_ids:
            heads.pop(block_id, None)
            gone.add(block_id)
