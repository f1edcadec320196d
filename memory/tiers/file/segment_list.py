"""SegmentList: lists which segments hold blocks, so that a missing one is noticed.

Ageing and forgetting delete segments, so gaps between their names mean nothing. A segment is listed
once it holds a block, and taken off the list before it is deleted: so whenever the writer dies, all
listed segments exist. An unlisted segment is no damage.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.whole_files import read_checked, write_checked


class SegmentList:
    """The first ids of the segments, in one file."""

    def __init__(self, path: Path | None) -> None:
        """With `path` None, keep no list."""
        self._path = path
        self.firsts: frozenset[int] = frozenset()
        self.damage: list[str] = []
        """Why the list cannot be read, as text."""
        if path is None:
            return
        try:
            self.firsts = frozenset(map(int, read_checked(path)["segments"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.damage = [f"{path}: cannot be read ({error}); segments may be missing"]

    def write(self, firsts: Iterable[int]) -> None:
        """Replace the list, or delete it if that fails: a stale one would miss deleted segments."""
        before, self.firsts = self.firsts, frozenset(firsts)
        if self._path is None or (self.firsts == before and not self.damage):
            return
        self.damage = []
        try:
            write_checked(self._path, {"segments": sorted(self.firsts)})
        except OSError:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def newest(self, segments: Sequence[SegmentFile]) -> int:
        """Return the first id of the segment that is, or was, the newest; -1 if there was none."""
        return max((*self.firsts, *(segment.first for segment in segments)), default=-1)

    def is_spent(self, segment: SegmentFile, newest: int) -> bool:
        """Return whether a scanned segment holds no block, though it once did.

        The newest may be new, or hold part of a first record that a dying writer left.
        """
        if segment.block_ids or (segment.first == newest and segment.has_part):
            return False
        return segment.first != newest or segment.rest_bytes > 0 or segment.first in self.firsts

    def damage_of(self, segments: Sequence[SegmentFile]) -> list[str]:
        """Return as text what is damaged or missing in a folder whose segments were all scanned."""
        newest = self.newest(segments)
        damage = list(self.damage)
        for segment in segments:
            if self.is_spent(segment, newest):
                damage.append(f"{segment.path}: no block in it can be read")
            else:
                damage += segment.damage(is_newest=segment.first == newest)
        missing = sorted(self.firsts.difference(segment.first for segment in segments))
        return damage + [f"{self._path}: the segment from block {i} on is missing" for i in missing]
