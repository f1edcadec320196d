"""RedisTier: keeps blocks in Redis, within a budget; the store of `redis://HOST`.

A block's rows are written first, under a new name and with a time to live; then one script enters
them into the table, if this process is still the stream's writer. Until then nobody sees them, and
rows that are never entered expire. Re-encoded blocks are new rows under other names, all entered in
one script.

While the server is away, new blocks wait here, up to a bound, and are sent once it is back; only
then do they count as acknowledged.
"""

import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain

from memory.block_info import BlockInfo
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import SPANS_IN_BUDGET, BlockStore, Changes, RunningSpans, Span
from memory.errors import StoreAwayError, StoreError
from memory.locks import Rank, ranked_lock
from memory.policy_hooks import UNCHANGED, State, StateChange, changed, state_bytes
from memory.tiers.redis.redis_blocks import CRC32_BYTES, RedisBlocks
from memory.tiers.redis.redis_keys import THUMBNAIL
from memory.tiers.redis.redis_link import TIMEOUT_S, RedisLink
from memory.tiers.redis.redis_stream import RedisStream

UNENTERED_S = 600
"""How long rows live that no table entry names."""
CLOSE_S = 5.0
_POLL_S = 0.05
_TURN_S = 0.5
"""How long one stream may send what waited before the process's other streams get their turn."""


class RedisTier(RedisBlocks, BlockStore):
    """A BlockStore in the place of one stream, whose lease the caller holds."""

    def __init__(
        self, link: RedisLink, stream: RedisStream, budget_bytes: int | None, buffer_bytes: int
    ) -> None:
        """`buffer_bytes` bounds what waits while the server is away."""
        super().__init__(link, stream.keys)
        self.budget_bytes = budget_bytes
        self._refusal: str | None = None
        """Why the server rejected what it was last sent."""
        self._stream = stream
        self._buffer_bytes = buffer_bytes
        self._spans = RunningSpans(budget_bytes)
        self._enter = link.script("is_ours", "enter")
        self._generations = 0
        self._version = 0
        self._unsure: tuple[dict[int, bytes], StateChange] | None = None
        """Entries and notes that the server may or may not have entered."""
        self._unsure_span: tuple[int, ...] = ()
        """The blocks of a `replace` among them."""
        self._chunk_blocks = 1
        self._largest = 0
        self._lock = ranked_lock(Rank.REDIS_WAITING)  # guards what waits
        self._writing = ranked_lock(Rank.REDIS_WRITING)
        self._waiting: dict[int, BlockRecord] = {}
        self._state: State = {}
        """The server's notes, as far as known here."""
        self._waiting_bytes = 0
        stream.on_beat = self._hand_over

    def recover(self) -> Iterator[BlockHead]:
        with self._link.store_errors():
            next_id, version = self._link.reads.hmget(self._keys.meta, "next_id", "version")
        self._version = int(version or 0)
        self._state = self.state()
        self.num_bytes += state_bytes(self._state)
        entries = self._load(int(next_id or 0))
        for block_id in sorted(entries):
            head = self._place(block_id, entries.pop(block_id))
            self._spans.add(block_id, self._placed[block_id].num_bytes)
            yield head
        self.next_id = max(self.next_id, int(next_id or 0))

    @property
    def away(self) -> str | None:
        """Why the server takes no blocks now, as far as known; None while it does."""
        return self._refusal or self._stream.away

    @property
    def num_acknowledged(self) -> int:
        with self._lock:
            return next(iter(self._waiting), self.next_id)

    def wait_for_room(self, num_blocks: int, stop: threading.Event) -> None:
        self._chunk_blocks = num_blocks
        while self._waiting and self._waiting_bytes + self._chunk_bytes > self._bound:
            if self._unsure_span or stop.is_set():
                return
            self._require_ours()
            stop.wait(_POLL_S)

    def has_room(self, record: BlockRecord) -> bool:
        """Return whether it fits the budget; while the server is away, `put` bounds the buffer."""
        if self.budget_bytes is None or self._waiting:
            return True
        return self.num_bytes + record_bytes(record) + 2 * self._reserve <= self.budget_bytes

    def put(self, record: BlockRecord) -> None:
        """See BlockStore. Raises FencedError, and StoreError if it can never be kept here."""
        self._require_ours()
        block_id = record.head.block_id
        assert block_id >= self.next_id, "blocks are put in order"
        num_bytes = record_bytes(record)
        self._largest = max(self._largest, num_bytes)
        if self._waiting or self._stream.away or not self._try_to_enter(record):
            if self._waiting and self._waiting_bytes + num_bytes > self._bound:
                already = f"{len(self._waiting)} blocks are waiting already"
                raise StoreAwayError(f"{self.away}; {already}")
            with self._lock:
                self._waiting[block_id] = record
                self._waiting_bytes += num_bytes
        self._spans.add(block_id, num_bytes)
        self.next_id = block_id + 1

    def note(self, noted: StateChange) -> None:
        self._require_ours()
        if self._waiting or self._stream.away:
            raise StoreAwayError(f"{self.away or self._link.name}; blocks are waiting for it")
        self._write({}, noted=noted)

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        here, there = self._parted(block_ids)
        found = iter(super().read_rows(layer, there) if there else ())
        return [here[i].rows[layer] if i in here else next(found) for i in block_ids]

    def read_record(self, block_id: int) -> BlockRecord:
        with self._lock:
            if block_id in self._waiting:
                return self._waiting[block_id]
        return super().read_record(block_id)

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        here, there = self._parted(block_ids)
        found = iter(super().read_thumbnails(there) if there else ())
        return [here[i].thumbnail if i in here else next(found) for i in block_ids]

    def _parted(self, block_ids: Sequence[int]) -> tuple[dict[int, BlockRecord], list[int]]:
        """Split blocks into those that wait here and those on the server."""
        with self._lock:
            here = {i: self._waiting[i] for i in block_ids if i in self._waiting}
        return here, [block_id for block_id in block_ids if block_id not in here]

    def spans(self) -> list[Span]:
        """Return the spans, without blocks that still wait."""
        return self._spans.closed(sorted(self._placed))

    def has_pictures(self, span: Span) -> bool:
        return any(self._placed[block_id].picture_bytes for block_id in span.block_ids)

    def close_span(self) -> None:
        self._spans.close()

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        self._require_ours()
        try:
            self._write({block_id: records.get(block_id) for block_id in block_ids}, block_ids)
        except StoreAwayError as error:
            self._refusal = str(error)
            raise
        if not records:
            self._spans.drop(block_ids[0])

    def settle(self) -> Changes:
        if not self._unsure_span:
            return Changes()
        with self._writing:
            entered = self._find_out()
            span, self._unsure_span = self._unsure_span, ()
        self._refusal = None
        if not entered:
            return Changes()
        gone = [block_id for block_id in span if block_id not in self._placed]
        if len(gone) == len(span):
            self._spans.drop(span[0])
        return Changes([self._placed[i].stored.head for i in span if i in self._placed], gone)

    def flush(self) -> None:
        """Return once nothing waits any more; persistence is up to the server."""
        self._require_ours()
        if not self._drained(TIMEOUT_S):
            self._require_ours()
            why = self.away or self._link.name
            raise StoreAwayError(f"{why}; {len(self._waiting)} blocks are waiting for it")

    def close(self) -> None:
        """Close it. Raises StoreError if the server does not take waiting blocks within seconds."""
        with suppress(StoreError):
            self.settle()
        self._drained(CLOSE_S)
        self._stream.stop_beating()
        super().close()
        if self._waiting:
            raise self._stream.failure or StoreAwayError(
                f"{self.away or self._link.name}; the newest {len(self._waiting)} blocks are lost"
            )

    def _drained(self, patience_s: float) -> bool:
        """Wait while the buffer shrinks; return whether it is empty."""
        left, since = len(self._waiting), time.monotonic()
        while self._waiting and self._stream.failure is None:
            if len(self._waiting) < left:
                left, since = len(self._waiting), time.monotonic()
            elif time.monotonic() - since > patience_s:
                return False
            time.sleep(_POLL_S)
        return not self._waiting

    @property
    def _chunk_bytes(self) -> int:
        return self._chunk_blocks * self._largest

    @property
    def _reserve(self) -> int:
        """Bytes of the budget kept free: what waited must fit when it is sent, and as much again
        for a span that is rewritten.
        """
        assert self.budget_bytes is not None
        return max(self.budget_bytes // SPANS_IN_BUDGET, self._chunk_bytes)

    @property
    def _bound(self) -> int:
        """The bound on what waits; a chunk must fit."""
        bound = max(self._buffer_bytes, self._chunk_bytes)
        return bound if self.budget_bytes is None else min(bound, self._reserve)

    def _require_ours(self) -> None:
        if self._stream.failure is not None:
            raise self._stream.failure

    def _hand_over(self) -> None:
        """Send what waits, oldest first, until that fails or other streams' turn comes; the server
        has just answered.
        """
        until = time.monotonic() + _TURN_S
        if self._unsure_span or not self._waiting:
            self._refusal = None  # nothing is sent here; the next write finds out
        while not self._unsure_span and time.monotonic() < until:
            with self._lock:
                record = next(iter(self._waiting.values()), None)
            if record is None or not self._try_to_enter(record):
                return
            with self._lock:
                del self._waiting[record.head.block_id]
                self._waiting_bytes -= record_bytes(record)

    def _try_to_enter(self, record: BlockRecord) -> bool:
        """Return whether the server has it. Raises FencedError, StoreError."""
        try:
            self._write({record.head.block_id: record}, noted=record.noted)
        except StoreAwayError as error:
            self._refusal = str(error)
            return False
        except StoreError as error:
            self._stream.failure = error
            raise
        self._refusal = self._stream.away = None
        return True

    def _write(
        self,
        records: Mapping[int, BlockRecord | None],
        span: Sequence[int] = (),
        noted: StateChange = UNCHANGED,
    ) -> None:
        """Atomically enter these blocks, delete those whose record is None, and store what is
        noted.

        `span` lists them if they are re-encoded. Then only `settle` may find out whether that
        happened, because others that know the blocks must change with it.
        """
        with self._writing:
            if self._unsure_span:
                why = f"{self._link.name}: it may or may not have stored the last blocks"
                raise StoreAwayError(why)
            self._find_out()
            entries = {
                block_id: b"" if record is None else self._written(record)
                for block_id, record in records.items()
            }
            state_grows = state_bytes(changed(self._state, noted)) - state_bytes(self._state)
            keys = [self._keys.lease, self._keys.meta, self._keys.table]
            keys += [self._keys.state, self._keys.log]
            next_id, num_bytes, *times = self._after(records)
            args = [self._stream.fence, self._keys.blocks, self._version]
            args += [next_id, num_bytes + state_grows, *times, len(noted)]
            args += chain.from_iterable((name, _noted(value)) for name, value in noted.items())
            args += chain.from_iterable(entries.items())
            try:
                with self._link.store_errors():
                    version = self._enter(keys=keys, args=args)
            except StoreAwayError:
                self._unsure, self._unsure_span = (entries, noted), tuple(span)
                raise
            self._entered(entries, noted, int(version))

    def _find_out(self) -> bool:
        """Return whether the server entered what it did not confirm; False if nothing is open.

        Raises StoreAwayError.
        """
        if self._unsure is None:
            return False
        entries, noted = self._unsure
        wanted = [str(block_id) for block_id in entries]
        with self._link.store_errors():
            pipeline = self._link.reads.pipeline()
            pipeline.hget(self._keys.meta, "version")
            pipeline.hmget(self._keys.table, wanted or [""])
            version, found = pipeline.execute()
        self._unsure = None
        has_all = [entry or b"" for entry in found[: len(wanted)]] == list(entries.values())
        if not has_all or int(version or 0) != self._version + 1:
            return False
        self._entered(entries, noted, int(version))
        return True

    def _entered(self, entries: Mapping[int, bytes], noted: StateChange, version: int) -> None:
        """Record that the server has them."""
        self._version = version
        if noted:
            before, self._state = self._state, changed(self._state, noted)
            self.num_bytes += state_bytes(self._state) - state_bytes(before)
        for block_id, entry in entries.items():
            if entry:
                self._place(block_id, entry)
            else:
                self._lose(block_id)

    def _written(self, record: BlockRecord) -> bytes:
        """Write a block's rows where nobody sees them yet; return its table entry."""
        self._generations += 1
        generation = f"{self._stream.fence}.{self._generations}"
        key = self._keys.block(record.head.block_id, generation)
        fields = {str(layer): row for layer, row in enumerate(record.rows)}
        pipeline = self._link.client.pipeline()
        pipeline.hset(key, mapping={**fields, THUMBNAIL: record.thumbnail})
        pipeline.expire(key, UNENTERED_S)
        with self._link.store_errors():
            pipeline.execute()
        return generation.encode() + b"\n" + record.head_bytes()

    def _after(self, records: Mapping[int, BlockRecord | None]) -> list[float]:
        """Return next_id, bytes, from_s and to_s as they will be."""
        new = {block_id: record for block_id, record in records.items() if record is not None}
        next_id = max([self.next_id, *(block_id + 1 for block_id in records)])
        num_bytes = self.num_bytes + sum(map(record_bytes, new.values()))
        num_bytes -= sum(self._placed[i].num_bytes for i in records if i in self._placed)

        def stays(block_id: int) -> bool:
            return block_id in new or block_id not in records

        def info(block_id: int) -> BlockInfo:
            head = new[block_id].head if block_id in new else self._placed[block_id].stored.head
            return head.info

        # Placed blocks are in order; new ones not yet placed are newer than all of them.
        first = next(filter(stays, self._placed), min(new, default=None))
        if first is None:
            return [next_id, num_bytes, 0.0, 0.0]
        last = max(next(filter(stays, reversed(self._placed)), first), *new, first)
        return [next_id, num_bytes, info(first).start_s, info(last).end_s]


def _noted(value: bytes | None) -> bytes:
    return b"" if value is None else zlib.crc32(value).to_bytes(CRC32_BYTES, "little") + value


def record_bytes(record: BlockRecord) -> int:
    """Return the bytes of a record as counted here."""
    return len(record.head_bytes()) + len(record.thumbnail) + sum(map(len, record.rows))
