"""KVMemory: a MemoryReader that is written: blocks in, kept within budgets, or forgotten."""

import json
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from math import inf
from typing import Any

import torch

from memory.ageing import COARSEST, AgeingCounts
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import BlockStore, Span
from memory.codecs.codec import codec_named, recoded
from memory.errors import (
    BlockCorruptError,
    BlockRejectedError,
    KVMemoryError,
    StoreAwayError,
    StoreError,
)
from memory.keep_policy import KeepPolicy
from memory.kv_block import KVBlock, RowForm, RowLayout, require_fitting, require_in_order
from memory.memory_reader import MemoryReader, MemoryStats
from memory.provenance import Provenance
from memory.row_cache import RowCache
from memory.stream_entry import StreamEntry

_SPANS_KEPT = 8
"""Where only so many blocks are kept, an eighth of them goes at a time."""


class KVMemory(MemoryReader):
    """What one stream remembers, with its one writer. Made by `open_memory`.

    Stored blocks change by ageing alone, which `append` and `age` do where a budget asks for it,
    and by `forget`.
    """

    def __init__(
        self,
        provenance: Provenance,
        device: torch.device,
        store: BlockStore,
        policy: KeepPolicy,
        cache: RowCache | None = None,
        entry: StreamEntry | None = None,
    ) -> None:
        """Takes over the tiers, what `store` already holds, and the stream's `entry` in it."""
        self._policy = policy
        self._codec = codec_named(policy.codec)
        self._store = store
        self._entry = entry
        self._note = entry.note if entry else {}
        self._ageing = AgeingCounts()
        self._stuck: set[int] = set()
        """Blocks whose numbers the coarsest codec cannot hold."""
        self._due_id = -1
        """The last block of the oldest span, with which it goes after `retain_s`."""
        super().__init__(provenance, device, store, cache)

    @property
    def num_acknowledged(self) -> int:
        """So many blocks, the first ones, survive the death of this process; see `flush`."""
        return self._store.num_acknowledged

    @property
    def away(self) -> str | None:
        """Why the store takes no blocks for now; None while it does."""
        return self._store.away

    def require_there(self) -> None:
        """Raises StoreAwayError at once while the store is away: what flushes would wait for it.

        For whoever must not wait, as with the device's turn in hand.
        """
        if self.away is not None:
            raise StoreAwayError(self.away)

    @property
    def failure(self) -> StoreError | None:
        """Why nothing can be written any more: another process has taken the stream over."""
        return None if self._entry is None else self._entry.failure

    @property
    def note(self) -> dict[str, Any]:
        """What the caller last gave to `set_note`; a copy."""
        return deepcopy(self._note)

    def set_note(self, note: dict[str, Any]) -> None:
        """Keep JSON-able facts about the stream beside its blocks, replacing the last ones.

        Blocks are flushed first, so that after a power cut the note never speaks of blocks that are
        gone. That waits for the disk twice: call it now and then, not for every block.

        Raises StoreAwayError while the store is away, StoreError.
        """
        self._require_open()
        try:
            note = json.loads(json.dumps(note, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise StoreError(f"memory: the note must be JSON-able: {error}") from error
        self.flush()
        if self._entry is not None:
            self._entry.set_note(note)
        self._note = note

    def age(self) -> None:
        """Let what is kept over the budget age until there is room for a block.

        For a memory that was just opened within a smaller budget: it would hold up its first
        `append`. One that is within its budget stays as it is. What fails is told by the `append`.
        """
        budget_bytes = self._store.budget_bytes
        if budget_bytes is None or self._store.num_bytes <= budget_bytes or not self._ids:
            return
        with suppress(KVMemoryError):
            self._expire(self.newest_s)
            self._make_room(self._store.read_record(self._ids[-1]))

    def append(self, block: KVBlock) -> int:
        """Encode and keep a block; its id.

        Raises BlockRejectedError if it does not fit the stream or cannot be encoded, and StoreError
        if it cannot be written or the budget cannot hold it beside the blocks that must stay. Then
        no block has been added.
        """
        self._require_open()
        return self.take(self.encoded(block))

    def encoded(self, block: KVBlock) -> BlockRecord:
        """The block as `take` keeps it. Changes nothing, and may be called from any thread.

        Raises BlockRejectedError if it does not fit the stream or cannot be encoded.
        """
        require_fitting(block, self._provenance, self.num_blocks)
        keys, values, info = block.keys.detach(), block.values.detach(), block.info
        rows = self._codec.rows(keys, values)
        layout = RowLayout(keys.shape[1], keys.shape[2], keys.shape[3], keys.dtype)
        head = BlockHead(
            block_id=self.num_blocks,
            provenance=self._provenance,
            form=RowForm(self._policy.codec, layout),
            info=replace(
                info, positions=info.positions.long().cpu(), advance=info.advance.long().cpu()
            ),
            representative_keys=keys.float().mean(dim=2).flatten(1).cpu().numpy(),
        )
        return BlockRecord(head, block.thumbnail, rows)

    def take(self, record: BlockRecord) -> int:
        """Keep a block that this or another memory has encoded, as the next of this stream; its id.

        It is encoded anew where that was done in another codec than this memory's; an `exact` one
        is then kept as `append` would have kept the block. Raises what `append` raises, and
        FingerprintMismatchError for a block of another provenance.
        """
        self._require_open()
        self._provenance.require_same(
            record.head.provenance, f"block {record.head.block_id}, to be taken"
        )
        require_in_order(record.head.info, self.num_blocks, self._ends_s[-1:])
        record = recoded(record, self._policy.codec)
        head = replace(record.head, block_id=self.num_blocks)
        return self._keep(BlockRecord(head, record.thumbnail, record.rows))

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete the blocks that show any moment of [from_s, to_s]; how many there were.

        They are gone from every tier, from the index and from the pictures. Blocks that were
        encoded after them, and saw them in their local window, stay.
        """
        self.flush()
        gone = {
            block_id
            for block_id, info in chain(self._infos.items(), self._damaged.items())
            if info.start_s <= to_s and info.end_s >= from_s
        }
        in_order = sorted(gone)
        self._store.close_span()
        self._keep_only(
            (span, [block_id for block_id in span.block_ids if block_id not in gone])
            for span in self._store.spans()
            if bisect_left(in_order, span.first) < bisect_left(in_order, span.end)
        )
        for block_id in gone:
            self._damaged.pop(block_id, None)
        return len(gone)

    def stats(self) -> MemoryStats:
        return replace(
            super().stats(),
            cut_bytes=self._store.cut_bytes,
            damaged=len(self._damaged) + len(self._store.damage),
            waiting=self.num_blocks - self.num_acknowledged,
            ageing=replace(self._ageing),
        )

    def wait_for_room(self, num_blocks: int, stop: threading.Event) -> None:
        """Return once the store can take so many blocks, `settle` is due, or `stop` is set.

        A store that is away lets new blocks wait within a bound. Not to be called by a thread that
        others wait for. Raises StoreError for a store that will not come back.
        """
        self._require_open()
        self._store.wait_for_room(num_blocks, stop)

    def flush(self) -> None:
        """Return once all blocks would survive a power cut (at once if nothing is on disk).

        Raises StoreAwayError if the store does not take them within seconds, StoreError.
        """
        self.settle()
        self._store.flush()

    def settle(self) -> None:
        """Learn what became of ageing or forgetting while the store went away.

        Raises StoreAwayError as long as that cannot be found out.
        """
        self._require_open()
        self._apply(self._store.settle())

    def erase(self) -> None:
        """Delete the stream: its blocks in every tier, its note and its place in the store.

        The memory is closed then. Raises StoreAwayError if the store is away, StoreError.
        """
        self.forget(-inf, inf)
        if self._entry is not None:
            self._entry.erase()
        self.close()

    def close(self) -> None:
        """Flush and let go of the store; a second time does nothing."""
        try:
            super().close()
        finally:
            if self._entry is not None:
                self._entry.close()

    def _keep(self, record: BlockRecord) -> int:
        with suppress(StoreAwayError):  # what is away ages when it is back
            self.settle()
            self._expire(record.head.info.end_s)
            self._let_go_of_the_oldest()
            self._make_room(record)
        self._store.put(record)
        if self._cache is not None:
            self._cache.put(record)
        self._remember((record.head,))
        return record.head.block_id

    def _let_go_of_the_oldest(self) -> None:
        """Let spans go that lie wholly behind the newest `keep_blocks`."""
        kept = self._policy.keep_blocks
        if kept is None:
            return
        if self.num_blocks % max(1, kept // _SPANS_KEPT) == 0:
            self._store.close_span()
        if len(self._ids) <= kept:
            return
        oldest = self._ids[-kept]
        gone = [span for span in self._store.spans() if span.block_ids[-1] < oldest]
        self._keep_only((span, ()) for span in gone)
        self._ageing.dropped += sum(len(span.block_ids) for span in gone)

    def _expire(self, newest_s: float) -> None:
        """Let go of spans that are wholly older than `retain_s`.

        All spans are looked at only once the oldest of them is due or has changed.
        """
        if self._policy.retain_s is None:
            return
        bound_s = newest_s - self._policy.retain_s
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
        """Make one span coarser, thinner or go; False if there is none that may."""
        spans = self._old_spans()
        if not spans:
            return False
        step = self._policy.age(spans, self)
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
        """Whether it is in a finer codec than the coarsest, which can hold its numbers."""
        return self._forms[block_id].codec != COARSEST and block_id not in self._stuck

    def _old_spans(self) -> list[Span]:
        """The closed spans that hold none of the newest blocks, which must stay as they are."""
        if len(self._ids) <= self._policy.keep_newest:
            return []
        protected = self._ids[-self._policy.keep_newest] if self._policy.keep_newest else inf
        return [span for span in self._store.spans() if span.block_ids[-1] < protected]

    def _replace(self, block_ids: Sequence[int], records: dict[int, BlockRecord]) -> None:
        self._store.replace(block_ids, records)
        self._forget_rows(block_ids)
        for block_id, record in records.items():
            self._take_form(block_id, record.head.form)
        self._drop(set(block_ids) - set(records))

    def _sound_records(self, block_ids: Sequence[int]) -> dict[int, BlockRecord]:
        """All of these blocks but those that are damaged, which are left out from now on."""
        records = {}
        for block_id in block_ids:
            try:
                records[block_id] = self._store.read_record(block_id)
            except BlockCorruptError as why:
                self._leave_out(block_id, why)
        return records

    def _known_of(self, span: Span) -> list[int]:
        """The blocks of a span but for those that have been left out since."""
        return [block_id for block_id in span.block_ids if block_id in self._infos]

    def _keep_only(self, kept_of: Iterable[tuple[Span, Sequence[int]]]) -> None:
        """Replace spans by some blocks of each, as they are.

        What is known of blocks is brought up to date at once for all: that takes a pass over all
        that there are. Where a span fails, for those before it.
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
    """The same block in the coarsest codec; the record itself if that cannot hold its numbers."""
    try:
        return recoded(record, COARSEST)
    except BlockRejectedError:
        return record
