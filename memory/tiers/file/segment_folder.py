"""SegmentFolder: the segments of one stream in a folder, of which any block can be read.

FIRST-GENERATION.index  an index of the complete segment of that name (see segment_index)
FIRST-GENERATION.vskv   block records from id FIRST on (see segment_file); the one with the largest
                        FIRST is still being written. Of two generations of one segment that a dying
                        process left, the newer one is complete and wins.
"""

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from memory.block_record import BlockRecord
from memory.errors import BlockNotFoundError
from memory.policy_state import State
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_list import SegmentList
from memory.tiers.file.state_log import StateLog

MAX_OPEN_FILES = 16
"""Of one stream. A process may serve dozens of streams and often has no more than 1024 files."""
SEGMENT_NAME = re.compile(r"(\d{12})-(\d{6})\.vskv")


class SegmentFolder:
    """The reading half of the stores in files."""

    name = "file"

    def __init__(self, folder: Path) -> None:
        """The caller adds the segments."""
        self._folder = folder
        self._segments: list[SegmentFile] = []
        self._firsts: list[int] = []
        self._next_id = 0
        self._open: OrderedDict[SegmentFile, None] = OrderedDict()
        self._noted = StateLog(folder / "policy.state")

    @property
    def num_bytes(self) -> int:
        blocks = sum(segment.num_bytes + segment.index_bytes for segment in self._segments)
        return blocks + self._noted.num_bytes

    @property
    def next_id(self) -> int:
        return self._next_id

    def state(self) -> State:
        return self._noted.state(self._next_id)

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return [self._holding(block_id).read_row(layer, block_id) for block_id in block_ids]

    def read_record(self, block_id: int) -> BlockRecord:
        return self._holding(block_id).read_record(block_id)

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        return [self._holding(block_id).read_thumbnail(block_id) for block_id in block_ids]

    def damage_by(self, listed: SegmentList) -> list[str]:
        """What is damaged or missing by that list, in words, once all segments were scanned."""
        return listed.damage_of(self._segments)

    def leave_out(self, block_id: int) -> None:
        self._holding(block_id).leave_out(block_id)

    def close(self) -> None:
        for segment in list(self._open):
            self._let_go(segment)

    def _add(self, segment: SegmentFile) -> None:
        """Behind all others."""
        self._segments.append(segment)
        self._firsts.append(segment.first)

    def _at(self, block_id: int) -> int:
        at = bisect_right(self._firsts, block_id) - 1
        if at < 0:
            raise BlockNotFoundError(f"{self._folder}: has no block {block_id}")
        return at

    def _holding(self, block_id: int) -> SegmentFile:
        return self._used(self._segments[self._at(block_id)])

    def _used(self, segment: SegmentFile) -> SegmentFile:
        """The segment, of which a file may now be open; those not used for longest are closed."""
        self._open[segment] = None
        self._open.move_to_end(segment)
        if len(self._open) > MAX_OPEN_FILES:
            self._let_go(next(iter(self._open)))
        return segment

    def _let_go(self, segment: SegmentFile) -> None:
        segment.close()
        self._open.pop(segment, None)

    def _path(self, first: int, generation: int) -> Path:
        return self._folder / f"{first:012d}-{generation:06d}.vskv"


def newest_segments(folder: Path) -> dict[int, Path]:
    """By first id, the newest generation of each segment in the folder, in order."""
    paths = sorted(path for path in folder.iterdir() if SEGMENT_NAME.fullmatch(path.name))
    return {segment_numbers(path)[0]: path for path in paths}


def segment_numbers(path: Path) -> tuple[int, int]:
    """First id and generation."""
    match = SEGMENT_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])
