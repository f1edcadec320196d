"""BlockStore: where encoded blocks are kept; records in by block id, one layer's rows out.

Beside it what host RAM holds of them: RowCache, copies of rows, and BlockFacts, what was found out.
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
from memory.policy_hooks import State, StateChange


@dataclass(frozen=True)
class Span:
    """A run of the stream that a store rewrites in one piece: ids from `first` up to `end`.

    `block_ids` are those that are still kept of it.
    """

    first: int
    end: int
    block_ids: tuple[int, ...]

    @property
    def density(self) -> float:
        """The share of its blocks that are still kept."""
        return len(self.block_ids) / (self.end - self.first)


@dataclass(frozen=True, eq=False)
class Changes:
    """What happened to blocks: `heads` are new or were encoded again, in order of their ids."""

    heads: Sequence[BlockHead] = ()
    gone: Collection[int] = ()


class BlockSource(Protocol):
    """Blocks to be read. One caller at a time."""

    name: str
    """As it appears in the statistics."""

    @property
    def num_bytes(self) -> int:
        """Bytes that the store takes up now."""

    @property
    def picture_bytes(self) -> int:
        """Those of the pictures among them."""

    next_id: int
    """One more than the largest id that was ever put."""

    def recover(self) -> Iterator[BlockHead]:
        """Verify and yield the heads of the blocks kept so far, in order of their ids.

        To be run to its end before anything else is asked of the store. Raises StoreError,
        BlockCorruptError where damaged blocks cannot be left out.
        """

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        """The rows of one layer, in the order asked for.

        Raises BlockNotFoundError, BlockCorruptError, StoreError.
        """

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        """Their pictures, each a JPEG, in the order asked for. Raises what `read_rows` raises."""

    def state(self) -> State:
        """What the memory policy noted with the blocks put so far. Raises StoreError."""

    def leave_out(self, block_id: int) -> None:
        """It was found damaged: from now on it is as if it were not there. Raises StoreError."""

    def close(self) -> None: ...


class FollowedSource(BlockSource, Protocol):
    """Blocks that another process writes."""

    def recover(self) -> Iterator[BlockHead]:
        return iter(self.changes().heads)

    def changes(self) -> Changes:
        """What happened since the last call, or since `recover`. Raises what `recover` raises."""


class BlockStore(BlockSource, Protocol):
    """Blocks of one writer; one changes by `replace` alone. Kinds of stores inherit from this.

    What has a body here is so for a store that is never away.
    """

    cut_bytes: int = 0
    """Bytes behind the last block that `recover` had to cut off, as of a half-written one."""
    damage: Sequence[str] = ()
    """Where `recover` found blocks damaged or missing, in words."""
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
        """Return once `put` can take so many blocks, `settle` has to be called, or `stop` is set.

        Raises StoreError if it never will.
        """
        return

    def has_room(self, record: BlockRecord) -> bool:
        """Whether it can be put, and any span be replaced afterwards, within the budget."""

    def put(self, record: BlockRecord) -> None:
        """Keep a block and `record.noted`, both or neither, whenever the process dies.

        Raises StoreError if it cannot be written; then nothing has changed.
        """

    def note(self, noted: StateChange) -> None:
        """Keep what is noted of the blocks that are there. Raises StoreAwayError, StoreError."""

    def read_record(self, block_id: int) -> BlockRecord:
        """All of a block. Raises what `read_rows` raises."""

    def spans(self) -> list[Span]:
        """The spans that are closed, oldest first."""

    def has_pictures(self, span: Span) -> bool:
        """Whether any block of a closed span does."""

    def close_span(self) -> None:
        """Let the newest span end here."""

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        """Keep `records` instead of the blocks of a whole closed span; those without one are gone.

        Wholly or not at all, whenever the process dies. Raises StoreError.
        """

    def settle(self) -> Changes:
        """What became of a `replace` that failed because the store went away: it may have happened.

        To be called before anything else is put or replaced. Raises StoreAwayError as long as that
        cannot be found out.
        """
        return Changes()

    def flush(self) -> None:
        """Return once everything put so far would survive a power cut.

        Raises StoreAwayError if the store does not take it within seconds, StoreError.
        """


SPAN_BLOCKS = 64
"""A span ends after so many blocks, or earlier where they are a large part of the budget."""
SPANS_IN_BUDGET = 16


class RunningSpans:
    """Where the spans of a store begin that can rewrite any blocks together."""

    def __init__(self, budget_bytes: int | None) -> None:
        self._span_bytes = inf if budget_bytes is None else budget_bytes // SPANS_IN_BUDGET
        self._firsts: list[int] = []
        self._newest_bytes = 0
        self._end = 0

    def add(self, block_id: int, num_bytes: int) -> None:
        """The next block."""
        self._newest_bytes += num_bytes
        if not self._firsts or self._is_full():
            self._firsts.append(block_id)
            self._newest_bytes = num_bytes
        self._end = block_id + 1

    def close(self) -> None:
        """Let the newest span end here."""
        if self._firsts and self._firsts[-1] < self._end:
            self._firsts.append(self._end)
            self._newest_bytes = 0

    def drop(self, block_id: int) -> None:
        """The closed span around that block is empty now."""
        del self._firsts[bisect_right(self._firsts, block_id) - 1]

    def closed(self, block_ids: Iterable[int]) -> list[Span]:
        """The closed spans with those of the kept `block_ids`, in order, that lie in each."""
        ids = list(block_ids)
        places = pairwise([bisect_left(ids, first) for first in self._firsts])
        bounds = zip(pairwise(self._firsts), places, strict=True)
        return [Span(*ends, tuple(ids[at:to])) for ends, (at, to) in bounds if at < to]

    def _is_full(self) -> bool:
        return self._end - self._firsts[-1] >= SPAN_BLOCKS or self._newest_bytes > self._span_bytes


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
