"""CoveredTime: blocks that come, go and are cached in, how much stream time they stand for out.

A block stands for the time since the end of the block before it that is still kept, and the first
one for its own: what a sampler passed over in between looked the same, and what was thinned out
lives on in its neighbours. But it stands for no more than `REACH_S`: of hours in which nobody
watched, and of a stretch that was deleted, nothing is there.
"""

REACH_S = 60.0
"""While nothing changes, a sampler keeps a frame so often."""


class CoveredTime:
    """Sums that are kept up to date as blocks change, so that they can be asked for at any time.

    Counts whole microseconds: sums of those are exact, whatever comes and goes.
    """

    def __init__(self, layers: int) -> None:
        """A block of which the cache holds a row of each of so many layers is cached."""
        self._layers = layers
        self._stands_us: dict[int, int] = {}
        self._cached: set[int] = set()
        self._all_us = self._cached_us = 0

    @property
    def seconds(self) -> float:
        """Of all blocks."""
        return self._all_us / 1e6

    @property
    def cached_s(self) -> float:
        """Of those that the cache holds whole."""
        return self._cached_us / 1e6

    def put(self, block_id: int, start_s: float, end_s: float, before_s: float | None) -> None:
        """A block is new, or another one is before it now, which ended at `before_s`."""
        since_s = start_s if before_s is None else before_s
        self._set(block_id, round(1e6 * min(max(0.0, end_s - since_s), REACH_S)))

    def drop(self, block_id: int) -> None:
        """A block can no longer be read."""
        self._set(block_id, 0)
        del self._stands_us[block_id]

    def cached(self, block_id: int, num_rows: int) -> None:
        """The cache holds so many rows of the block now."""
        is_whole = num_rows == self._layers
        if is_whole != (block_id in self._cached):
            stands_us = self._stands_us.get(block_id, 0)
            self._cached_us += stands_us if is_whole else -stands_us
            self._cached ^= {block_id}

    def _set(self, block_id: int, stands_us: int) -> None:
        more_us = stands_us - self._stands_us.get(block_id, 0)
        self._stands_us[block_id] = stands_us
        self._all_us += more_us
        if block_id in self._cached:
            self._cached_us += more_us
