"""BlockStore: stores encoded blocks: takes records by block id, returns rows of one layer.

RowCache holds copies of rows in host RAM.
"""

import threading
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import inf
from typing import Protocol

from memory.block_record import BlockHead, BlockRecord
from memory.fault import Fault
from memory.policy_hooks import State, StateChange


@dataclass(frozen=True)
class Span:
    """A run of the stream that a store rewrites as one: ids from `first` up to `end`.

    `block_ids` are those it still keeps.
    """

    first: int
    end: int
    block_ids: tuple[int, ...]

    @property
    def density(self) -> float:
        """The share of its blocks that is still kept."""
        return len(self.block_ids) / (self.end - self.first)


@dataclass(frozen=True, eq=False)
class Changes:
    """What happened to blocks: `heads` are new or were encoded again, in order of their ids."""

    heads: Sequence[BlockHead] = ()
    gone: Collection[int] = ()


class BlockSource(Protocol):
    """Blocks to read, for one caller at a time."""

    name: str
    """As it appears in statistics."""

    @property
    def num_bytes(self) -> int:
        """The bytes that the store takes up now."""

    @property
    def picture_bytes(self) -> int:
        """The bytes of pictures among them."""

    next_id: int
    """One more than the largest id ever put."""

    def recover(self) -> Iterator[BlockHead]:
        """Verify and yield the heads of the kept blocks, in order of their ids.

        Must be exhausted before any other call. Raises StoreError, and BlockCorruptError if damaged
        blocks cannot be left out.
        """

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        """Return the rows of one layer, in the order requested.

        Raises BlockNotFoundError, BlockCorruptError, StoreError.
        """

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        """Return their JPEG pictures, in the order requested. Raises what `read_rows` raises."""

    def state(self) -> State:
        """Return what the memory policy noted with the blocks put so far. Raises StoreError."""

    def read_record(self, block_id: int) -> BlockRecord:
        """Return a whole block, verified. Raises what `read_rows` raises."""

    def leave_out(self, block_id: int) -> None:
        """Treat a damaged block as missing from now on. Raises StoreError."""

    def close(self) -> None: ...


class FollowedSource(BlockSource, Protocol):
    """Blocks that another process writes."""

    def recover(self) -> Iterator[BlockHead]:
        return iter(self.changes().heads)

    def changes(self) -> Changes:
        """Return what changed since the last call or `recover`. Raises what `recover` raises."""

    def damage(self) -> list[Fault]:
        """Return where `recover` found damaged or missing blocks. Raises StoreError."""
        return []

    def harmless_faults(self) -> list[Fault]:
        """Return what costs no block but is not as a writer leaves it when it closes, such as a
        missing index. Raises StoreError.
        """
        return []


class BlockStore(BlockSource, Protocol):
    """The blocks of one writer; only `replace` changes one. Kinds of stores inherit from this.

    Methods with a body here suit a store that is never away.
    """

    cut_bytes: int = 0
    """Bytes that `recover` cut off after the last block, such as a half-written one."""
    damage: Sequence[Fault] = ()
    """Where `recover` found damaged or missing blocks."""
    budget_bytes: int | None

    @property
    def away(self) -> str | None:
        """Why the store takes no blocks for now; None while it does."""
        return None

    @property
    def num_acknowledged(self) -> int:
        """One more than the id of the newest block that survives the death of this process."""
        return self.next_id

    def wait_for_room(self, num_blocks: int, stop: threading.Event) -> None:
        """Return once `put` can take that many blocks, `settle` must be called, or `stop` is set.

        Raises StoreError if that will never be.
        """
        return

    def has_room(self, record: BlockRecord) -> bool:
        """Return whether it can be put, and any span replaced afterwards, within the budget."""

    def put(self, record: BlockRecord) -> None:
        """Store a block and `record.noted` atomically, even if the process dies.

        Raises StoreError if it cannot be written; then nothing has changed.
        """

    def note(self, noted: StateChange) -> None:
        """Store a policy's notes about the kept blocks. Raises StoreAwayError, StoreError."""

    def spans(self) -> list[Span]:
        """Return the closed spans, oldest first."""

    def has_pictures(self, span: Span) -> bool:
        """Return whether any block of a closed span has one."""

    def close_span(self) -> None:
        """End the newest span here."""

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        """Replace the blocks of a whole closed span with `records`; blocks without one are deleted.

        Atomic, even if the process dies. Raises StoreError.
        """

    def settle(self) -> Changes:
        """Return what became of a `replace` during which the store went away: it may have happened.

        Must be called before the next put or replace. Raises StoreAwayError until that can be found
        out.
        """
        return Changes()

    def flush(self) -> None:
        """Return once everything put so far would survive a power cut.

        Raises StoreAwayError if the store does not take it within seconds, StoreError.
        """


SPAN_BLOCKS = 64
"""A span ends after this many blocks, or earlier if they fill a large part of the budget."""
SPANS_IN_BUDGET = 16


class RunningSpans:
    """Tracks where spans begin, for a store that can rewrite any blocks together."""

    def __init__(self, budget_bytes: int | None) -> None:
        self._span_bytes = inf if budget_bytes is None else budget_bytes // SPANS_IN_BUDGET
        self._firsts: list[int] = []
        self._newest_bytes = 0
        self._end = 0

    def add(self, block_id: int, num_bytes: int) -> None:
        """Add the next block."""
        self._newest_bytes += num_bytes
        if not self._firsts or self._is_full():
            self._firsts.append(block_id)
            self._newest_bytes = num_bytes
        self._end = block_id + 1

    def close(self) -> None:
        """End the newest span here."""
        if self._firsts and self._firsts[-1] < self._end:
            self._firsts.append(self._end)
            self._newest_bytes = 0

    def drop(self, block_id: int) -> None:
        """Remove the closed span around that block, which is now empty."""
        del self._firsts[bisect_right(self._firsts, block_id) - 1]

    def closed(self, block_ids: Iterable[int]) -> list[Span]:
        """Return the closed spans, each with those of the sorted `block_ids` that lie in it."""
        ids = list(block_ids)
        places = pairwise([bisect_left(ids, first) for first in self._firsts])
        bounds = zip(pairwise(self._firsts), places, strict=True)
        return [Span(*ends, tuple(ids[at:to])) for ends, (at, to) in bounds if at < to]

    def _is_full(self) -> bool:
        return self._end - self._firsts[-1] >= SPAN_BLOCKS or self._newest_bytes > self._span_bytes


class RowCache:
    """Copies of rows that a tier below also has; evicting one costs a read.

    It caches rows, not whole blocks: every layer retrieves other blocks, so a cache of blocks would
    read `layers` rows for each one requested.
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
        """Cache one row, evicting the least recently used to make room.

        A row larger than the budget is not cached.
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
        """Return those of the rows that are cached."""
        found = {}
        for block_id in block_ids:
            row = self._rows.get((block_id, layer))
            if row is not None:
                found[block_id] = row
                self._rows.move_to_end((block_id, layer))
        return found

    def whole(self, layers: int) -> list[int]:
        """Return blocks with a cached row for all `layers` layers. Safe in any thread."""
        return [i for i, num_rows in list(self._num_rows.items()) if num_rows == layers]

    def forget(self, block_ids: Collection[int], layers: int) -> None:
        """Drop rows that have changed or are gone below."""
        for place in product(block_ids, range(layers)):
            row = self._rows.pop(place, None)
            if row is not None:
                self.num_bytes -= len(row)
                self._count(place[0], -1)

    def _count(self, block_id: int, more: int) -> None:
        self._num_rows[block_id] += more
        if not self._num_rows[block_id]:
            del self._num_rows[block_id]
