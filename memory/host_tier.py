"""HostTier: encoded rows in host RAM, by block and layer, with a count of their bytes."""

from collections import OrderedDict
from collections.abc import Sequence

from memory.block_record import BlockRecord
from memory.errors import BlockNotFoundError


class HostTier:
    """A BlockStore in RAM that says when it is over its budget and what it last used.

    It is kept by rows, not by whole blocks: every layer retrieves other blocks, so a cache of whole
    blocks would read `layers` rows for each one that is asked for. It drops nothing by itself; the
    caller decides between `drop_block` (nothing lies below) and `evict` (a store below has all).
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._rows: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    @property
    def is_over_budget(self) -> bool:
        return self._num_bytes > self.budget_bytes

    def put(self, block_id: int, record: BlockRecord) -> None:
        for layer, row in enumerate(record.rows):
            self.put_row(layer, block_id, row)

    def put_row(self, layer: int, block_id: int, row: bytes) -> None:
        """Keep one row of a block."""
        assert (block_id, layer) not in self._rows, "rows never change"
        self._rows[block_id, layer] = row
        self._num_bytes += len(row)

    def holds(self, layer: int, block_id: int) -> bool:
        return (block_id, layer) in self._rows

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        rows = []
        for block_id in block_ids:
            key = (block_id, layer)
            try:
                rows.append(self._rows[key])
            except KeyError:
                raise BlockNotFoundError(
                    f"host tier: layer {layer} of block {block_id} is not kept (any more)"
                ) from None
            self._rows.move_to_end(key)
        return rows

    def drop_block(self, block_id: int, layers: int) -> None:
        """Forget all rows of a block."""
        for layer in range(layers):
            self._num_bytes -= len(self._rows.pop((block_id, layer)))

    def evict(self) -> None:
        """Forget the rows that were not used for longest, until the budget is kept."""
        while self.is_over_budget:
            _, row = self._rows.popitem(last=False)
            self._num_bytes -= len(row)
