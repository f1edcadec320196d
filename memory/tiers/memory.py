"""InMemory: streams in the host RAM of this process, within a budget, `memory://`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from memory.block_record import BlockHead, BlockRecord
from memory.block_store import BlockStore, RunningSpans, Span
from memory.config import MemoryConfig
from memory.errors import BlockNotFoundError, StoreError
from memory.policy_hooks import State, StateChange, changed, state_bytes
from memory.stream_entry import StreamEntry
from memory.tiers.tier import Tier, store_name


class HostTier(BlockStore):
    """A BlockStore that ends with its process."""

    name = "host"
    num_bytes = 0
    picture_bytes = 0

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes: int | None = budget_bytes
        self._blocks: dict[int, BlockRecord] = {}
        self._spans = RunningSpans(budget_bytes)
        self.next_id = 0
        self._state: State = {}

    def recover(self) -> Iterator[BlockHead]:
        """Yield nothing: it starts empty."""
        return iter(())

    def has_room(self, record: BlockRecord) -> bool:
        return self.budget_bytes is None or self.num_bytes + record.num_bytes <= self.budget_bytes

    def put(self, record: BlockRecord) -> None:
        block_id = record.head.block_id
        assert block_id >= self.next_id, "blocks are put in order"
        self._spans.add(block_id, record.num_bytes)
        self._blocks[block_id] = record
        self.next_id = block_id + 1
        self.num_bytes += record.num_bytes
        self.picture_bytes += len(record.thumbnail)
        if record.noted:
            self.note(record.noted)
            self._blocks[block_id] = replace(record, noted={})

    def note(self, noted: StateChange) -> None:
        before, self._state = self._state, changed(self._state, noted)
        self.num_bytes += state_bytes(self._state) - state_bytes(before)

    def state(self) -> State:
        return self._state

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return [self._block(block_id).rows[layer] for block_id in block_ids]

    def read_record(self, block_id: int) -> BlockRecord:
        return self._block(block_id)

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        return [self._block(block_id).thumbnail for block_id in block_ids]

    def leave_out(self, block_id: int) -> None:
        """Do nothing: RAM returns a block as it was put."""

    def spans(self) -> list[Span]:
        return self._spans.closed(self._blocks)

    def has_pictures(self, span: Span) -> bool:
        return any(self._blocks[block_id].thumbnail for block_id in span.block_ids)

    def close_span(self) -> None:
        self._spans.close()

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        for block_id in block_ids:
            old = self._block(block_id)
            self.num_bytes -= old.num_bytes
            self.picture_bytes -= len(old.thumbnail)
            if block_id in records:
                new = self._blocks[block_id] = records[block_id]
                self.num_bytes += new.num_bytes
                self.picture_bytes += len(new.thumbnail)
            else:
                del self._blocks[block_id]
        if not records:
            self._spans.drop(block_ids[0])

    def flush(self) -> None:
        """Do nothing: nothing here could survive."""

    def close(self) -> None:
        """Keep the blocks until the last reference goes."""

    def _block(self, block_id: int) -> BlockRecord:
        try:
            return self._blocks[block_id]
        except KeyError:
            why = f"host tier: block {block_id} is not kept (any more)"
            raise BlockNotFoundError(why) from None


class InMemory(Tier):
    """Streams that end with their process."""

    name = "memory"

    def __init__(self, store: str) -> None:
        super().__init__(store)
        if store != "memory://":
            raise StoreError(f"store {store_name(store)!r}: nothing stands behind memory://")

    def blocks(self, entry: StreamEntry, config: MemoryConfig) -> HostTier:
        return HostTier(config.host_bytes)
