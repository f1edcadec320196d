"""RowCache: encoded rows in host RAM above a slower tier, those used last, within a budget.

BlockFacts: what was found out about a block in, the same out until it changes or is gone.
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from itertools import product

from memory.block_record import BlockRecord

MOST_FACTS = 100_000
"""So many facts are kept; those of the block that was first asked about go first."""


class RowCache:
    """Copies of rows that lie in a tier below as well; forgetting one costs a read.

    It is kept by rows, not by whole blocks: every layer retrieves other blocks, so a cache of whole
    blocks would read `layers` rows for each one that is asked for.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.num_bytes = 0
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

    def whole(self, layers: int) -> list[int]:
        """Blocks of which a row of each of so many layers is here. May be called by any thread."""
        return [i for i, num_rows in list(self._num_rows.items()) if num_rows == layers]

    def forget(self, block_ids: Collection[int], layers: int) -> None:
        """What lies below has changed or is gone."""
        for place in product(block_ids, range(layers)):
            row = self._rows.pop(place, None)
            if row is not None:
                self.num_bytes -= len(row)
                self._count(place[0], -1)

    def _count(self, block_id: int, more: int) -> None:
        self._num_rows[block_id] += more
        if not self._num_rows[block_id]:
            del self._num_rows[block_id]


class BlockFacts:
    """Numbers by block and by what was asked, in host RAM alone."""

    def __init__(self) -> None:
        self._facts: dict[int, dict[str, float]] = {}
        self._count = 0

    def get(self, block_id: int, asked: str) -> float | None:
        return self._facts.get(block_id, {}).get(asked)

    def put(self, block_id: int, asked: str, value: float) -> None:
        """With the device's turn, in which the block is known to be there."""
        known = self._facts.setdefault(block_id, {})
        self._count += asked not in known
        known[asked] = value
        while self._count > MOST_FACTS:
            self.drop([next(iter(self._facts))])

    def drop(self, block_ids: Iterable[int]) -> None:
        """These blocks are gone, or no longer what they were."""
        for block_id in block_ids:
            self._count -= len(self._facts.pop(block_id, ()))

    def __len__(self) -> int:
        return self._count
