"""HostTier: blocks in host RAM, within a budget; the store of `memory://`."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from math import inf

from memory.block_record import BlockHead, BlockRecord
from memory.block_store import Span
from memory.errors import BlockNotFoundError

SPAN_BLOCKS = 64
"""A span ends after so many blocks, or earlier where they are a large part of the budget."""
SPANS_IN_BUDGET = 16


class HostTier:
    """A BlockStore that ends with its process."""

    name = "host"
    cut_bytes = 0

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes: int | None = budget_bytes
        self.num_bytes = 0
        self._blocks: dict[int, BlockRecord] = {}
        self._firsts: list[int] = []
        self._span_bytes = 0
        self._next_id = 0

    def recover(self) -> Iterator[BlockHead]:
        """Nothing: it begins empty."""
        return iter(())

    @property
    def next_id(self) -> int:
        return self._next_id

    @property
    def num_acknowledged(self) -> int:
        return self._next_id

    def wait_for_room(self) -> None:
        """It takes a block or fails at once."""

    def has_room(self, record: BlockRecord) -> bool:
        return self.budget_bytes is None or self.num_bytes + record.num_bytes <= self.budget_bytes

    def put(self, record: BlockRecord) -> None:
        block_id = record.head.block_id
        assert block_id >= self._next_id, "blocks are put in order"
        self._span_bytes += record.num_bytes
        if not self._firsts or self._is_span_full():
            self._firsts.append(block_id)
            self._span_bytes = record.num_bytes
        self._blocks[block_id] = record
        self._next_id = block_id + 1
        self.num_bytes += record.num_bytes

    def _is_span_full(self) -> bool:
        part_bytes = inf if self.budget_bytes is None else self.budget_bytes // SPANS_IN_BUDGET
        return self._next_id - self._firsts[-1] >= SPAN_BLOCKS or self._span_bytes > part_bytes

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return [self._block(block_id).rows[layer] for block_id in block_ids]

    def read_record(self, block_id: int) -> BlockRecord:
        return self._block(block_id)

    def read_thumbnail(self, block_id: int) -> bytes:
        return self._block(block_id).thumbnail

    def spans(self) -> list[Span]:
        groups = groupby(self._blocks, key=lambda block_id: bisect_right(self._firsts, block_id))
        ids_of = {number: tuple(ids) for number, ids in groups}
        bounds = enumerate(pairwise(self._firsts), start=1)
        return [
            Span(first, end, ids_of[number]) for number, (first, end) in bounds if number in ids_of
        ]

    def close_span(self) -> None:
        if self._firsts and self._firsts[-1] < self._next_id:
            self._firsts.append(self._next_id)
            self._span_bytes = 0

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        for block_id in block_ids:
            old = self._block(block_id)
            self.num_bytes -= old.num_bytes
            if block_id in records:
                self._blocks[block_id] = records[block_id]
                self.num_bytes += records[block_id].num_bytes
            else:
                del self._blocks[block_id]
        if not records:
            del self._firsts[bisect_right(self._firsts, block_ids[0]) - 1]

    def flush(self) -> None:
        """There is nothing that could survive."""

    def close(self) -> None:
        """The blocks stay until the last reference goes."""

    def _block(self, block_id: int) -> BlockRecord:
        try:
            return self._blocks[block_id]
        except KeyError:
            raise BlockNotFoundError(
                f"host tier: block {block_id} is not kept (any more)"
            ) from None
