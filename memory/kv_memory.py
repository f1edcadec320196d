"""KVMemory: an AgingMemory that can be written: appends blocks, keeps to budgets, forgets."""

import json
import threading
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from math import inf
from typing import Any

import torch

from memory.aging_memory import AgingMemory
from memory.block_record import BlockRecord
from memory.codecs.codec import recoded, record_of
from memory.errors import KVMemoryError, StoreAwayError, StoreError
from memory.kv_block import KVBlock, require_fitting, require_in_order
from memory.memory_stats import MemoryStats
from memory.policy_hooks import State, StateChange, changed


class KVMemory(AgingMemory):
    """The memory of one stream, held by its only writer. Made by `open_memory`.

    Stored blocks change only by ageing, which `append` and `age` do when over budget, and by
    `forget`.
    """

    @property
    def retain_s(self) -> float | None:
        """How long the stream is remembered, in seconds; None: always."""
        return self._policy.retain_s

    @property
    def num_acknowledged(self) -> int:
        """The number of leading blocks that survive the death of this process; see `flush`."""
        return self._store.num_acknowledged

    @property
    def away(self) -> str | None:
        """See BlockStore."""
        return self._store.away

    def require_there(self) -> None:
        """Raise StoreAwayError at once if the store is away; a flush would wait for it.

        For callers that must not wait, such as those who hold the device's turn.
        """
        if self.away is not None:
            raise StoreAwayError(self.away)

    @property
    def failure(self) -> StoreError | None:
        """Why nothing can be written any more: another process has taken over the stream."""
        return self._entry.failure

    @property
    def note(self) -> dict[str, Any]:
        """A copy of what the caller last passed to `set_note`."""
        return deepcopy(self._entry.note)

    def set_note(self, note: dict[str, Any]) -> None:
        """Store JSON-able facts about the stream beside its blocks, replacing the previous note.

        Flushes the blocks first, so that after a power cut the note never mentions lost blocks.
        That waits for the disk twice: call it now and then, not for every block.

        Raises StoreAwayError while the store is away, StoreError.
        """
        self._require_open()
        try:
            note = json.loads(json.dumps(note, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise StoreError(f"memory: the note must be JSON-able: {error}") from error
        self.flush()
        self._entry.set_note(note)

    @property
    def state(self) -> State:
        return self._state

    def note_state(self, noted: StateChange) -> None:
        """Store what a memory policy notes about the kept blocks. Raises StoreError."""
        self._require_open()
        unnoted = {**self._unnoted, **noted}
        self._state = changed(self._state, noted)
        try:
            self._store.note(unnoted)
            self._unnoted = {}
        except StoreAwayError:
            self._unnoted = unnoted

    def age(self) -> None:
        """Age whatever exceeds the budget until there is room for a block.

        For a memory just opened with a smaller budget, whose first `append` would otherwise be
        slow. Does nothing within the budget. Failures surface in the next `append`.
        """
        with suppress(KVMemoryError):
            self._let_go_of_pictures()
        budget_bytes = self._store.budget_bytes
        if budget_bytes is None or self._store.num_bytes <= budget_bytes or not self._ids:
            return
        with suppress(KVMemoryError):
            if self.retain_s is not None:
                self._expire(self.newest_s - self.retain_s)
            self._make_room(self._store.read_record(self._ids[-1]))

    def append(self, block: KVBlock) -> int:
        """Encode and keep a block; return its id.

        Raises BlockRejectedError if it does not fit the stream or cannot be encoded, and StoreError
        if it cannot be written or does not fit the budget beside the blocks that must stay. Then no
        block has been added.
        """
        self._require_open()
        return self.take(self.encoded(block))

    def encoded(self, block: KVBlock) -> BlockRecord:
        """Encode a block for `take`, changing nothing; may be called from any thread.

        Raises BlockRejectedError if it does not fit the stream or cannot be encoded.
        """
        require_fitting(block, self.provenance, self.num_blocks)
        if self._policy.index_vectors is not None and block.index is None:
            mean = block.keys.float().mean(dim=2).flatten(1)[:, None]
            more = self._policy.index_vectors(block.keys)
            block = replace(block, index=torch.cat([mean, more.to(mean)], dim=1))
        return record_of(block, self.num_blocks, self.provenance, self._policy.codec)

    def take(self, record: BlockRecord) -> int:
        """Keep a block encoded by this or another memory as this stream's next; return its id.

        A block in another codec than this memory's is encoded again; an `exact` one ends up as
        `append` would have kept it. Raises what `append` raises, and FingerprintMismatchError for a
        block of another provenance.
        """
        self._require_open()
        self.provenance.require_same(
            record.head.provenance, f"block {record.head.block_id}, to be taken"
        )
        require_in_order(record.head.info, self.num_blocks, self._times.ends_s[-1:])
        noted = {**self._unnoted, **record.noted}
        record = recoded(record, self._policy.codec)
        head = replace(record.head, block_id=self.num_blocks)
        return self._keep(BlockRecord(head, record.thumbnail, record.rows, noted))

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete the blocks that show any moment of [from_s, to_s]; return how many.

        They are deleted from every tier, with their index entries and pictures. Later blocks stay,
        even if they saw them in their local window. The memory policy decides which notes go;
        without a policy all do. All dialogues go too, and go last, so that one that begins
        afterwards cannot see the blocks.
        """
        if self._state:
            self.note_state(self._policy.forgotten(self._state, from_s, to_s))
        self.flush()
        damaged = ((block_id, info) for block_id, (info, _) in self._damaged.items())
        gone = {
            block_id
            for block_id, info in chain(self._infos.items(), damaged)
            if info.start_s <= to_s and info.end_s >= from_s
        }
        self._store.close_span()
        self._keep_only(
            (span, [block_id for block_id in span.block_ids if block_id not in gone])
            for span in self._store.spans()
            if not gone.isdisjoint(range(span.first, span.end))
        )
        for block_id in gone:
            self._damaged.pop(block_id, None)
        self._store.flush()
        self._entry.forget_undated()
        return len(gone)

    def stats(self) -> MemoryStats:
        return replace(
            super().stats(),
            cut_bytes=self._store.cut_bytes,
            damage=(*self._store.damage, *(fault for _, fault in self._damaged.values())),
            waiting=self.num_blocks - self.num_acknowledged,
            ageing=replace(self._ageing),
        )

    def wait_for_room(self, num_blocks: int, stop: threading.Event) -> None:
        """Return once the store can take that many blocks, `settle` is due, or `stop` is set.

        A store that is away buffers new blocks up to a bound. Do not call it from a thread that
        others wait for. Raises StoreError for a store that will not recover.
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
        """Find out whether ageing or forgetting took effect when the store went away.

        Raises StoreAwayError until that can be found out.
        """
        self._require_open()
        self._apply(self._store.settle())

    def erase(self) -> None:
        """Delete the stream: its blocks in every tier, its note and its place in the store.

        Closes the memory. Raises StoreAwayError if the store is away, StoreError.
        """
        self.forget(-inf, inf)
        self._entry.erase()
        self.close()

    def close(self) -> None:
        """Flush and release the store; closing twice is harmless."""
        try:
            super().close()
        finally:
            self._entry.close()

    def _change_old(self, new: BlockRecord) -> None:
        """Expire, evict, rewrite and age old blocks before a new one is put."""
        policy = self._policy
        if policy.retain_s is not None:
            self._expire(new.head.info.end_s - policy.retain_s)
        if policy.keep_blocks is not None:
            self._let_go_of_the_oldest(policy.keep_blocks)
        if policy.rewrite is not None:
            self._rewrite_old(policy.rewrite)
        self._let_go_of_pictures(len(new.thumbnail))
        if not self._store.has_room(new):
            self._make_room(new)

    def _keep(self, record: BlockRecord) -> int:
        with suppress(StoreAwayError):  # a store that is away ages later
            self.settle()
            self._change_old(record)
        self._store.put(record)
        if record.noted:
            self._state, self._unnoted = changed(self._state, record.noted), {}
        if self._cache is not None:
            self._cache.put(record)
        self._remember((record.head,))
        return record.head.block_id
