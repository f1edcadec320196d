"""SegmentList: lists which segments hold blocks and how many, so that missing ones are noticed.

Ageing and forgetting delete blocks and segments, so gaps between ids mean nothing. A segment is
listed once it holds a block, with as many as it then has at least: the list is written again when
the segment is complete and when the stream is closed, and before blocks of it or all of it go. So
whenever the writer dies, at least that is there. An unlisted segment is no damage.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memory.fault import Fault
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.whole_files import read_checked, set_aside, write_checked


class SegmentList:
    """In one file: the first ids of the segments, each with the least number of its blocks."""

    def __init__(self, path: Path | None, blocks: Mapping[int, int] | None = None) -> None:
        """Read the file at `path`; with None, keep no list, only `blocks`."""
        self._path = path
        self.blocks = dict(blocks or {})
        """What the file may list: more than it does if it could not be written."""
        self.damage: list[Fault] = []
        """Why the list cannot be read."""
        self.is_there = path is None
        self._is_settled = True
        """Whether the file is known to list just that."""
        if path is None:
            return
        try:
            self.blocks = _parsed(read_checked(path)["segments"])
            self.is_there = True
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.damage = [Fault(f"{path}: cannot be read ({error}); segments may be missing")]
            self._is_settled = False

    def write(self, blocks: Mapping[int, int]) -> None:
        """Replace the list. If that fails, either the old or the new one is there; if the old one
        lists more than there will be, it is deleted. Raises OSError if that fails, too.
        """
        blocks = dict(blocks)
        if self._path is not None and (blocks != self.blocks or not self._is_settled):
            try:
                write_checked(self._path, {"segments": {str(i): n for i, n in blocks.items()}})
            except OSError:
                self._is_settled = False
                self.blocks |= {i: max(n, self.blocks.get(i, 0)) for i, n in blocks.items()}
                if self.blocks == blocks:
                    return
                self._path.unlink(missing_ok=True)
                blocks = {}
        self.blocks, self.damage, self._is_settled = blocks, [], True

    def set_aside(self, folder: Path) -> None:
        """Move a list that cannot be read into that folder; `write` makes a new one. OSError."""
        if self._path is not None and self.damage:
            set_aside(self._path, folder)

    def take(self, segment: SegmentFile, num_blocks: int) -> None:
        """Note that a listed segment will have `num_blocks`; with none it leaves the list."""
        if segment.first in self.blocks:
            rest = {first: n for first, n in self.blocks.items() if first != segment.first}
            self.write({**rest, segment.first: num_blocks} if num_blocks else rest)

    def holds(self, segment: SegmentFile) -> bool:
        """Return whether the file is known to list the segment."""
        return self._is_settled and segment.first in self.blocks

    def count(self, segment: SegmentFile) -> None:
        """Note how many blocks a segment holds; the next `write` lists it."""
        known = self.blocks.get(segment.first, 0)
        if (count := len(segment.block_ids)) > known:
            self.blocks[segment.first] = count
            self._is_settled = False

    def meet(self, other: "SegmentList") -> None:
        """Keep of each segment what both lists agree on: segments may begin and go meanwhile."""
        self.blocks = {
            i: min(n, other.blocks[i]) for i, n in self.blocks.items() if i in other.blocks
        }

    def newest(self, segments: Sequence[SegmentFile]) -> int:
        """Return the first id of the segment that is, or was, the newest; -1 if there was none."""
        return max((*self.blocks, *(segment.first for segment in segments)), default=-1)

    def missing_at_end(self, segment: SegmentFile) -> int:
        """Return how many blocks a scanned segment lacks after its last record."""
        return segment.missing_at_end(self.blocks.get(segment.first, 0))

    def is_spent(self, segment: SegmentFile, newest: int) -> bool:
        """Return whether a scanned segment holds no block, though it once did.

        The newest may be new, or hold part of a first record that a dying writer left.
        """
        if segment.block_ids:
            return False
        is_new = segment.first == newest and segment.first not in self.blocks
        return not is_new or (segment.rest_bytes > 0 and not segment.has_part)

    def damage_of(self, segments: Sequence[SegmentFile]) -> list[Fault]:
        """Return what is damaged or missing in a folder whose segments were all scanned."""
        newest, found = self.newest(segments), list(self.damage)
        for segment in segments:
            if self.is_spent(segment, newest):
                why = "no block in it can be read"
                found.append(Fault(f"{segment.path}: {why}", self.blocks.get(segment.first, 0)))
            else:
                listed = self.blocks.get(segment.first, 0)
                found += segment.damage(segment.first == newest, listed)
        there = {segment.first for segment in segments}
        return found + [
            Fault(f"{self._path}: the segment from block {first} on is missing", num_blocks)
            for first, num_blocks in sorted(self.blocks.items())
            if first not in there
        ]


def _parsed(segments: Any) -> dict[int, int]:
    """Return the number of blocks by first id. Before 0.3 there were only first ids."""
    if isinstance(segments, list):
        return dict.fromkeys(map(int, segments), 0)
    return {int(first): int(num_blocks) for first, num_blocks in segments.items()}
