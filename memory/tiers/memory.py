"""HostTier: blocks in host RAM, within a budget; the store of `memory://`."""

import threading
from collections.abc import Iterator, Mapping, Sequence

from memory.block_record import BlockHead, BlockRecord
from memory.block_store import Changes, Span
from memory.errors import BlockNotFoundError
from memory.running_spans import RunningSpans


class HostTier:
    """A BlockStore that ends with its process."""

    name = "host"
    cut_bytes = 0
    damage: Sequence[str] = ()
    away: str | None = None

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes: int | None = budget_bytes
        self.num_bytes = 0
        self._blocks: dict[int, BlockRecord] = {}
        self._spans = RunningSpans(budget_bytes)
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

    def wait_for_room(self, num_blocks: int, stop: threading.Event) -> None:
        """It takes a block or fails at once."""

    def has_room(self, record: BlockRecord) -> bool:
        return self.budget_bytes is None or self.num_bytes + record.num_bytes <= self.budget_bytes

    def put(self, record: BlockRecord) -> None:
        block_id = record.head.block_id
        assert block_id >= self._next_id, "blocks are put in order"
        self._spans.add(block_id, record.num_bytes)
        self._blocks[block_id] = record
        self._next_id = block_id + 1
        self.num_bytes += record.num_bytes

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return [self._block(block_id).rows[layer] for block_id in block_ids]

    def read_record(self, block_id: int) -> BlockRecord:
        return self._block(block_id)

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        return [self._block(block_id).thumbnail for block_id in block_ids]

    def leave_out(self, block_id: int) -> None:
        """It is given back as it was put."""

    def spans(self) -> list[Span]:
        return self._spans.closed(self._blocks)

    def close_span(self) -> None:
        self._spans.close()

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
            self._spans.drop(block_ids[0])

    def settle(self) -> Changes:
        """A `replace` happens or it does not."""
        return Changes([], [])

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
