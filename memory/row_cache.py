"""RowCache: encoded rows in host RAM above a slower tier, those used last, within a budget.

CoveredTime tells how much stream time lies in either. A block stands for the time since the end of
the block before it that is still kept, and the first one for its own: what a sampler passed over in
between looked the same, and what was thinned out lives on in its neighbours. But it stands for no
more than `REACH_S`: of hours in which nobody watched, and of a stretch that was deleted, nothing is
there.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence

from memory.block_record import BlockRecord

REACH_S = 60.0
"""While nothing changes, a sampler keeps a frame so often."""


class RowCache:
    """Copies of rows that lie in a tier below as well; forgetting one costs a read.

    It is kept by rows, not by whole blocks: every layer retrieves other blocks, so a cache of whole
    blocks would read `layers` rows for each one that is asked for.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.num_bytes = 0
        self.on_change: Callable[[int, int], None] = lambda block_id, num_rows: None
        """Is told of each block that gained or lost a row how many it has here now."""
        self._rows: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._num_rows: Counter[int] = Counter()

    def put(self, record: BlockRecord) -> None:
        for layer, row in enumerate(record.rows):
            self.put_row(layer, record.head.block_id, row)

    def put_row(self, layer: int, block_id: int, row: bytes) -> None:
        """Keep one row; those that were not used for longest make room for it.

        A row that is larger than the budget is not kept.
        """
        assert (block_id, layer) not in self._rows, "a row is put once"
        if len(row) > self.budget_bytes:
            return
        while self.num_bytes + len(row) > self.budget_bytes:
            (evicted_id, _), oldest = self._rows.popitem(last=False)
            self.num_bytes -= len(oldest)
            self._count(evicted_id, -1)
        self._rows[block_id, layer] = row
        self.num_bytes += len(row)
        self._count(block_id, 1)

    def rows(self, layer: int, block_ids: Sequence[int]) -> dict[int, bytes]:
        """Those of the rows that are here."""
        found = {}
        for block_id in block_ids:
            row = self._rows.get((block_id, layer))
            if row is not None:
                found[block_id] = row
                self._rows.move_to_end((block_id, layer))
        return found

    def forget(self, block_ids: Collection[int], layers: int) -> None:
        """What lies below has changed or is gone."""
        for block_id in block_ids:
            for layer in range(layers):
                row = self._rows.pop((block_id, layer), None)
                if row is not None:
                    self.num_bytes -= len(row)
                    self._count(block_id, -1)

    def _count(self, block_id: int, more: int) -> None:
        self._num_rows[block_id] += more
        self.on_change(block_id, self._num_rows[block_id])
        if not self._num_rows[block_id]:
            del self._num_rows[block_id]


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
