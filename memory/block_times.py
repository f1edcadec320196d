"""BlockTimes: when the blocks of a stream were, for all of them at once.

A day has 86,400 blocks. What looks at all of them takes arrays from here in a millisecond.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64

from memory.best_blocks import as_array
from memory.block_info import BlockInfo


class BlockTimes:
    """The blocks that can be read, in stream order."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.starts_s, self.ends_s, self.captured_at = array("d"), array("d"), array("d")

    @property
    def newest_s(self) -> float:
        """Stream time of the end of the newest block; 0 without blocks."""
        return self.ends_s[-1] if self.ends_s else 0.0

    def append(self, block_id: int, info: BlockInfo) -> None:
        assert not self.ids or block_id > self.ids[-1], "blocks come in order"
        self.ids.append(block_id)
        self.starts_s.append(info.start_s)
        self.ends_s.append(info.end_s)
        self.captured_at.append(info.captured_at)

    def replace(self, block_id: int, info: BlockInfo) -> None:
        """Give a block, which is there, other times."""
        at = bisect_left(self.ids, block_id)
        self.starts_s[at], self.ends_s[at] = info.start_s, info.end_s
        self.captured_at[at] = info.captured_at

    def drop(self, gone: Collection[int]) -> None:
        """Forget these blocks. Costs what lies between them."""
        run = slice(bisect_left(self.ids, min(gone)), bisect_right(self.ids, max(gone)))
        kept = [at for at in range(*run.indices(len(self.ids))) if self.ids[at] not in gone]
        self.ids[run] = [self.ids[at] for at in kept]
        for times in (self.starts_s, self.ends_s, self.captured_at):
            times[run] = array("d", (times[at] for at in kept))

    def seen(self, at_s: float | None, from_s: float | None) -> Sequence[int]:
        """Return the ids of blocks that ended at `at_s` or before, and at `from_s` or later.

        None is no bound. They are a range, of a week as quickly as of an hour, where no block
        between them has gone.
        """
        end = len(self.ids) if at_s is None else bisect_right(self.ends_s, at_s)
        first = 0 if from_s is None else bisect_left(self.ends_s, from_s)
        if first < end and self.ids[end - 1] - self.ids[first] == end - 1 - first:
            return range(self.ids[first], self.ids[end - 1] + 1)
        return self.ids[first:end]

    def of(self, block_ids: Sequence[int]) -> Float64[np.ndarray, "3 blocks"]:
        """Return the starts and ends of blocks that are there, in seconds of stream time, and when
        each was captured, in seconds since the epoch.
        """
        times = self.starts_s, self.ends_s, self.captured_at
        if isinstance(block_ids, range) and block_ids.step == 1:
            first = bisect_left(self.ids, block_ids.start)
            return np.array([one[first : first + len(block_ids)] for one in times])
        at = np.searchsorted(self.ids, as_array(block_ids))
        return np.array([one[:] for one in times])[:, at]  # a copy: they can still grow
