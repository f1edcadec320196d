"""AgingMemory: a MemoryReader that coarsens, thins out or evicts old blocks to make room."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from memory.ageing import (
    COARSEST,
    REWRITE_BLOCKS,
    AgeingCounts,
    AgeingStep,
    AgingBlocks,
    blocks_at_a_time,
    next_step,
)
from memory.block_info import Provenance
from memory.block_record import BlockRecord
from memory.block_store import SPANS_IN_BUDGET, BlockStore, RowCache, Span
from memory.codecs.codec import block_of, recoded, record_of
from memory.errors import BlockCorruptError, BlockRejectedError, StoreError
from memory.kv_block import KVBlock, require_fitting
from memory.memory_reader import MemoryReader
from memory.policy_hooks import State, StateChange
from memory.stream_entry import StreamEntry


@dataclass(frozen=True)
class KeepPolicy:
    """How new blocks are kept, and which blocks must never change.

    `keep_newest` is how many of the newest blocks the local and the recent window still need.

    Blocks older than `retain_s` are evicted span by span, and so are those not among the newest
    `keep_blocks`; None: as long as the budget allows. `age` chooses what ages over a budget.
    """

    codec: str
    keep_newest: int = 0
    retain_s: float | None = None
    picture_bytes: int | None = None
    """Over this the oldest pictures are evicted and their blocks stay; None: no bound of their own.
    """
    index_bytes: int | None = None
    """How much of the index lies on the device; None: all of it."""
    keep_blocks: int | None = None
    age: Callable[[Sequence[Span], AgingBlocks], AgeingStep | None] = next_step
    forgotten: Callable[[State, float, float], StateChange] = lambda state, *_: dict.fromkeys(state)
    """Changes the notes when a range is forgotten; see `MemoryPolicy.forgotten`."""
    index_vectors: Callable[[Tensor], Tensor] | None = None
    """Index vectors of a block's keys besides their mean; see `MemoryPolicy.index_vectors`."""
    rewrite: Callable[[KVBlock, int, State], KVBlock] | None = None
    """See `MemoryPolicy.rewrite`."""
    outlasting: Callable[[Float[Tensor, "layers blocks features"]], Collection[int]] | None = None
    """See `MemoryPolicy.outlasting`."""
    rewritten_codec: str | None = None
    """The codec of rewritten blocks; None: unchanged."""


class AgingMemory(MemoryReader):
    """Changes stored blocks in whole spans, as the policy decides. `KVMemory` triggers it."""

    def __init__(
        self,
        provenance: Provenance,
        device: torch.device,
        store: BlockStore,
        policy: KeepPolicy,
        cache: RowCache | None = None,
        entry: StreamEntry | None = None,
    ) -> None:
        """Take over the tiers, what `store` already holds, and the stream's `entry` in it."""
        self._policy = policy
        self._store = store
        self._ageing = AgeingCounts()
        self._stuck: set[int] = set()
        """Blocks that the coarsest codec cannot hold, or not in fewer bytes."""
        self._pictures_from = 0
        """Spans before this block have no pictures."""
        self._open_pictures = 0
        """Bytes of the newest span's pictures, at least."""
        self._due_id = -1
        """The last block of the oldest span, which goes with it after `retain_s`."""
        super().__init__(provenance, device, store, cache, policy.index_bytes)
        self._entry = entry or StreamEntry(provenance)
        self._state = store.state()
        self._unnoted: StateChange = {}
        """Notes that the store could not take yet; they go with the next block."""
        self._rewritten_below = 0
        """Blocks before this one have been considered and are not rewritten again."""

    def _let_go_of_the_oldest(self, kept: int) -> None:
        """Evict spans that lie wholly before the newest `kept` blocks."""
        if self.num_blocks % blocks_at_a_time(kept) == 0:
            self._store.close_span()
        if len(self._ids) <= kept:
            return
        oldest = self._ids[-kept]
        gone = [span for span in self._store.spans() if span.block_ids[-1] < oldest]
        self._keep_only((span, ()) for span in gone)
        self._ageing.dropped += sum(len(span.block_ids) for span in gone)

    def _expire(self, bound_s: float) -> None:
        """Evict spans that are wholly older than this.

        Scans the spans only once the oldest of them is due or has changed.
        """
        due = self._infos.get(self._due_id)
        if due is not None and due.end_s >= bound_s:
            return
        self._keep_only((span, ()) for span in self._due_spans(bound_s))

    def _due_spans(self, bound_s: float) -> Iterator[Span]:
        for span in self._old_spans():
            self._due_id = span.block_ids[-1]
            if self._infos[self._due_id].end_s >= bound_s:
                break
            self._ageing.dropped += len(span.block_ids)
            yield span

    def _let_go_of_pictures(self, new_bytes: int = 0) -> None:
        """Evict the oldest pictures, span by span, until the new ones fit."""
        most = self._policy.picture_bytes
        if most is None:
            return
        self._open_pictures += new_bytes
        if self._open_pictures > most // SPANS_IN_BUDGET:
            self._store.close_span()
            self._open_pictures = new_bytes
        while self._store.picture_bytes + new_bytes > most:
            span = next(filter(self._has_pictures, self._store.spans()), None)
            if span is None and self._store.picture_bytes:
                self._store.close_span()
                span = next(filter(self._has_pictures, self._store.spans()), None)
            if span is None:
                return
            records = self._sound_records(self._known_of(span))
            bare = {i: replace(record, thumbnail=b"") for i, record in records.items()}
            if bare:
                self._store.replace(self._known_of(span), bare)

    def _has_pictures(self, span: Span) -> bool:
        """Return whether any of its blocks has one; call it for the spans in order."""
        if span.first >= self._pictures_from and self._store.has_pictures(span):
            return True
        self._pictures_from = max(self._pictures_from, span.end)
        return False

    def _rewrite_old(self, rewrite: Callable[[KVBlock, int, State], KVBlock]) -> None:
        """Let the policy rewrite blocks that have left the windows, REWRITE_BLOCKS at a time,
        counted from the stream's start: so every store rewrites the same blocks at the same time.
        """
        if self.num_blocks % REWRITE_BLOCKS:
            return
        self._store.close_span()
        below = (self.num_blocks - self._policy.keep_newest) // REWRITE_BLOCKS * REWRITE_BLOCKS
        spans = [s for s in self._store.spans() if self._rewritten_below <= s.block_ids[-1] < below]
        due = {i for span in spans for i in span.block_ids} - self._rewritten
        gone = due - self._outlasting(due)
        for span in spans:
            if due.isdisjoint(span.block_ids):
                continue
            records = self._sound_records([i for i in span.block_ids if i not in gone])
            rewritten = {
                i: self._rewritten_record(record, rewrite) if i in due else record
                for i, record in records.items()
            }
            self._ageing.thinned += len(gone.intersection(span.block_ids))
            self._replace(self._known_of(span), rewritten)
        self._rewritten_below = max(below, 0)

    def _outlasting(self, due: Collection[int]) -> set[int]:
        """Return which of the blocks to rewrite are kept at all."""
        if self._policy.outlasting is None:
            return set(due)
        staying = set()
        for _, run in groupby(sorted(due), key=lambda block_id: block_id // REWRITE_BLOCKS):
            ids = list(run)
            staying |= {ids[at] for at in self._policy.outlasting(self._index.keys(ids))}
        return staying

    def _rewritten_record(
        self, record: BlockRecord, rewrite: Callable[[KVBlock, int, State], KVBlock]
    ) -> BlockRecord:
        block_id, old, codec = record.head.block_id, block_of(record), record.head.form.codec
        new = rewrite(old, block_id, self.state)
        info = replace(old.info, positions=new.info.positions, advance=new.info.advance)
        require_fitting(replace(new, info=info), self.provenance, block_id)

        def recorded(codec: str) -> BlockRecord:
            if new is old:
                return recoded(record, codec)
            kept = replace(new, info=info, thumbnail=record.thumbnail)
            return record_of(kept, block_id, self.provenance, codec)

        try:
            made = recorded(self._policy.rewritten_codec or codec)
        except BlockRejectedError:  # that codec cannot hold its numbers
            made = recorded(codec)
        return replace(made, head=replace(made.head, is_rewritten=True))

    def _make_room(self, record: BlockRecord) -> None:
        while not self._store.has_room(record):
            if self._age():
                continue
            before = len(self._store.spans())
            self._store.close_span()
            if len(self._store.spans()) == before or not self._old_spans():
                raise StoreError(
                    f"{self._store.name} tier: its budget of {self._store.budget_bytes} bytes "
                    f"cannot hold the newest {self._policy.keep_newest} blocks, which must stay, "
                    f"and one of {record.num_bytes} bytes; raise the budget, "
                    f"{2 * (self._policy.keep_newest + 1) * record.num_bytes} bytes will do"
                )

    def _age(self) -> bool:
        """Make one span coarser, thin it or evict it; return False if none may change."""
        spans = self._old_spans()
        step = self._policy.age(spans, self) if spans else None
        if step is None:
            return False
        span = step.span
        records = self._sound_records(step.kept)
        if step.is_coarser:
            old, records = records, {i: coarser(record) for i, record in records.items()}
            self._stuck |= {i for i in old if records[i].head.form.codec != COARSEST}
            coarsened = sum(records[i] is not old[i] for i in old)
            if not coarsened:
                return True
            self._ageing.coarsened += coarsened
        num_gone = len(span.block_ids) - len(step.kept)
        if not step.kept and span is spans[0]:
            self._ageing.dropped += num_gone
        else:
            self._ageing.thinned += num_gone
        self._replace(self._known_of(span), records)
        return True

    def may_get_coarser(self, block_id: int) -> bool:
        """Return whether it is in a finer codec than the coarsest, which can hold its numbers."""
        return self._forms[block_id].codec != COARSEST and block_id not in self._stuck

    def _old_spans(self) -> list[Span]:
        """Return the closed spans without any of the newest blocks, which must not change."""
        if len(self._ids) <= self._policy.keep_newest:
            return []
        protected = self._ids[-self._policy.keep_newest] if self._policy.keep_newest else inf
        return [span for span in self._store.spans() if span.block_ids[-1] < protected]

    def _replace(self, block_ids: Sequence[int], records: dict[int, BlockRecord]) -> None:
        self._store.replace(block_ids, records)
        self._forget_rows(block_ids)
        self._take_again([record.head for record in records.values()])
        self._drop(set(block_ids) - set(records))

    def _sound_records(self, block_ids: Sequence[int]) -> dict[int, BlockRecord]:
        """Read these blocks, leaving out damaged ones from now on."""
        records = {}
        for block_id in block_ids:
            try:
                records[block_id] = self._store.read_record(block_id)
            except BlockCorruptError as why:
                self._leave_out(block_id, why)
        return records

    def _known_of(self, span: Span) -> list[int]:
        """Return the blocks of a span, without those that have been left out since."""
        return [block_id for block_id in span.block_ids if block_id in self._infos]

    def _keep_only(self, kept_of: Iterable[tuple[Span, Sequence[int]]]) -> None:
        """Replace spans by some of their blocks, unchanged.

        Updates what is known of the blocks once for all spans, because that takes a pass over all
        blocks. If a span fails, the update covers those before it.
        """
        replaced: set[int] = set()
        gone: set[int] = set()
        try:
            for span, kept in kept_of:
                records = self._sound_records(kept)
                block_ids = self._known_of(span)
                self._store.replace(block_ids, records)
                replaced.update(block_ids)
                gone.update(set(block_ids).difference(records))
        finally:
            self._forget_rows(replaced)
            self._drop(gone)


def coarser(record: BlockRecord) -> BlockRecord:
    """Return the block in the coarsest codec, or the record itself if that cannot hold its numbers
    or takes no fewer bytes.
    """
    try:
        new = recoded(record, COARSEST)
    except BlockRejectedError:
        return record
    return new if new.num_bytes < record.num_bytes else record
