"""SegmentList: which segments hold blocks, beside them, so that one that goes missing is noticed.

Ageing and forgetting let segments go, so gaps between their names mean nothing. A segment is
entered once it holds a block, and taken out before it is let go: whenever the writer dies, all that
are listed are there. One that is there and not listed is no damage.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.whole_files import read_checked, write_checked


class SegmentList:
    """The first ids of the segments, in one file."""

    def __init__(self, path: Path | None) -> None:
        """None keeps no list."""
        self._path = path
        self.firsts: frozenset[int] = frozenset()
        self.damage: list[str] = []
        """Why the list cannot be read, in words."""
        if path is None:
            return
        try:
            self.firsts = frozenset(map(int, read_checked(path)["segments"]))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.damage = [f"{path}: cannot be read ({error}); segments may be missing"]

    def write(self, firsts: Iterable[int]) -> None:
        """Replace the list, or keep none if that fails: an old one would miss what was let go."""
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
        """The first id of the segment that is, or was, the newest; -1 if there was none."""
        return max((*self.firsts, *(segment.first for segment in segments)), default=-1)

    def is_spent(self, segment: SegmentFile, newest: int) -> bool:
        """Whether a segment that was scanned holds no block, though it did.

        The newest may have a part of a first one, which a dying writer left, or be just begun.
        """
        if segment.block_ids or (segment.first == newest and segment.has_part):
            return False
        return segment.first != newest or segment.rest_bytes > 0 or segment.first in self.firsts

    def damage_of(self, segments: Sequence[SegmentFile]) -> list[str]:
        """What is damaged or missing of a folder whose segments were all scanned, in words."""
        newest = self.newest(segments)
        told = list(self.damage)
        for segment in segments:
            if self.is_spent(segment, newest):
                told.append(f"{segment.path}: no block in it can be read")
            else:
                told += segment.damage(is_newest=segment.first == newest)
        missing = sorted(self.firsts.difference(segment.first for segment in segments))
        return told + [f"{self._path}: the segment from block {i} on is missing" for i in missing]
