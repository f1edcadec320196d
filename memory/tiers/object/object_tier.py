"""ObjectTier: keeps blocks in sealed segments of an object store, within a budget, the newest in
files.

It works like the file tier until a segment is complete: then the stream's thread writes it to the
store and enters it into the manifest, and only then deletes its file. New blocks go to the open
file and never wait for the store. With `memory.ack = replicated` a block counts as acknowledged
once the thread has also written it to the tail (see tail), and the store has confirmed afterwards
that this is still the writer. Segments are rewritten under new names.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

from memory.block_record import BlockHead, BlockRecord
from memory.block_store import Changes
from memory.errors import KVMemoryError, StoreAwayError, StoreError
from memory.policy_hooks import State, StateChange
from memory.tiers.file.file_tier import FileTier, newest_segments, segment_path
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_index import index_path
from memory.tiers.file.segment_list import SegmentList
from memory.tiers.file.state_log import state_entries
from memory.tiers.file.stream_directory import segments_folder
from memory.tiers.file.whole_files import store_errors
from memory.tiers.object.object_stream import ObjectStream
from memory.tiers.object.sealed_segment import SealedReading, SealedSegment, fetched
from memory.tiers.object.tail import Tail, tail_name

PATIENCE_S = 5.0
_POLL_S = 0.02
_ABOUT_BYTES = 1024
"""The size of a snapshot without its blocks."""
_MEASURED_EVERY = 64


class ObjectTier(SealedReading, FileTier):
    """A BlockStore in the place of one stream, whose fence the caller holds."""

    name = "object"

    def __init__(
        self, stream: ObjectStream, segment_bytes: int, budget: int | None, is_replicated: bool
    ) -> None:
        self._stream, self.link = stream, stream.link
        self._is_replicated = is_replicated
        folder = segments_folder(stream.directory.path)
        with store_errors(f"{folder}: cannot be used for blocks"):
            self._prepare(folder)
        super().__init__(folder, segment_bytes, budget)
        self._list = SegmentList(None, stream.manifest.counts)
        place = stream.blocks_name
        sealed = [SealedSegment(self.link, place(e.name), e) for e in stream.manifest.segments]
        self._segments[:0] = sealed
        self.next_id = stream.manifest.end
        self._sealed: deque[SealedSegment] = deque()
        """Segments that the thread has sealed; their files are still read here."""
        self._sealed_below = stream.manifest.end
        self._states: dict[int, State] = {}
        """The policy's notes up to the end of a segment, by its first block."""
        self._notes: deque[bytes] = deque()
        self._unsent = b""
        self._batches = self._tailed = self._acknowledged = 0
        self._tail_of: int | None = None
        self._tail_names: list[str] = []
        self._head_bytes = 0
        """About the most bytes that a block takes in a snapshot."""
        self._spare: list[str] = []
        """Objects that nothing refers to any more."""
        self._replacing: tuple[SealedSegment, SealedSegment | None, list[BlockHead]] | None = None

    def recover(self) -> Iterator[BlockHead]:
        fetched(self.link, (s for s in self._segments if isinstance(s, SealedSegment)))
        yield from super().recover()
        with self._stream.lock:
            manifest = self._stream.manifest
            if self._is_replicated or manifest.tail is not None:
                self._seal_all()
                self._stream.swap(tail=manifest.fence if self._is_replicated else None)
            self._sweep()
        self._adopt()
        self._acknowledged = self.next_id
        self._stream.on_beat = self._hand_over

    @property
    def away(self) -> str | None:
        return self._stream.away

    @property
    def num_acknowledged(self) -> int:
        return self._acknowledged if self._is_replicated else self.next_id

    def wait_for_room(self, num_blocks: int, stop: threading.Event) -> None:
        while self._is_piled_up() and not stop.is_set():
            self._require_ours()
            stop.wait(_POLL_S)
            self._adopt()

    def has_room(self, record: BlockRecord) -> bool:
        """See BlockStore; counts also the snapshots that files will need."""
        if self.budget_bytes is None:
            return True
        files, room = self._files(), self.budget_bytes - self.num_bytes - self._segment_bytes
        to_come = sum(len(file.block_ids) + 1 for file in files) * self._head_bytes
        to_come += len(files) * _ABOUT_BYTES
        return super().has_room(record) and to_come + len(record.to_bytes()) <= room

    def put(self, record: BlockRecord) -> None:
        """See BlockStore. Raises FencedError; StoreAwayError if unsealed blocks fill the budget."""
        self._require_ours()
        self._adopt()
        if self._is_piled_up():
            raise StoreAwayError(f"{self.away}; the blocks that wait for it fill the budget")
        if record.noted and self._is_replicated:
            self._notes.append(state_entries(record.head.block_id, record.noted))
        super().put(record)
        if not self._head_bytes or record.head.block_id % _MEASURED_EVERY == 0:
            self._head_bytes = max(self._head_bytes, len(record.head_bytes()))
        if self._is_replicated:
            self._stream.wanted.set()

    def note(self, noted: StateChange) -> None:
        self._require_ours()
        super().note(noted)
        if self._is_replicated:
            self._notes.append(state_entries(self.next_id - 1, noted))
            self._stream.wanted.set()
        if None in noted.values() or not noted:  # leave nothing of deleted notes in the store
            with self._stream.lock:
                self._seal_all()
                self._enter(self._state, end=self._stream.manifest.end)
                self._notes.clear()
                self._unsent = b""
                self._clear()

    def replace(self, block_ids: Sequence[int], records: Mapping[int, BlockRecord]) -> None:
        self._require_ours()
        with self._stream.lock:
            self._seal(self._files())
            self._adopt()
            old = self._holding(block_ids[0])
            assert isinstance(old, SealedSegment), "complete segments are sealed"
            new, heads = self._rewritten(old, records) if records else (None, [])
            self._replacing = old, new, heads
            names = {old.entry.name: new.entry if new else None}
            entries = (names.get(e.name, e) for e in self._stream.manifest.segments)
            self._stream.swap(segments=tuple(filter(None, entries)))
            self._replaced(old, new)

    def settle(self) -> Changes:
        if self._replacing is None:
            return Changes()
        old, new, heads = self._replacing
        with self._stream.lock:
            self._stream.find_out()
            if old.entry in self._stream.manifest.segments:
                self._replacing = None
                return Changes()
            self._replaced(old, new)
        return Changes(heads, set(old.block_ids).difference(head.block_id for head in heads))

    def flush(self) -> None:
        super().flush()
        since = time.monotonic()
        while self.num_acknowledged < self.next_id:
            self._require_ours()
            if time.monotonic() - since > PATIENCE_S:
                raise StoreAwayError(f"{self.away or self.link.name}; blocks are waiting for it")
            self._stream.wanted.set()
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Seal everything and close. Raises StoreError if blocks are not acknowledged by then."""
        self._stream.stop_beating()
        try:
            with self._stream.lock:
                self._seal_all()
                self._clear()
            self._adopt()
            self._acknowledged = self.next_id
        except StoreError:
            if self.num_acknowledged < self.next_id:
                raise
        finally:
            with suppress(KVMemoryError):
                self._sync()
            for segment in list(self._open):
                self._let_go(segment)

    def _begin(self, first: int) -> SegmentFile:
        if self._segments:
            self._states[self._segments[-1].first] = self._state
        begun = super()._begin(first)
        self._stream.wanted.set()
        return begun

    def _set_aside(self, segment: SegmentFile) -> None:
        if not isinstance(segment, SealedSegment):
            super()._set_aside(segment)

    def _require_ours(self) -> None:
        if self._stream.failure is not None:
            raise self._stream.failure

    def _is_piled_up(self) -> bool:
        """Whether the store is away and unsealed blocks fill the budget."""
        waiting = sum(segment.num_bytes for segment in self._files())
        return self.away is not None and waiting > (self.budget_bytes or inf)

    def _files(self) -> list[SegmentFile]:
        """Return segments that are not sealed, or whose seal this thread has not seen."""
        return [one for one in list(self._segments) if not isinstance(one, SealedSegment)]

    def _prepare(self, folder: Path) -> None:
        """Make the folder begin where the sealed segments end."""
        manifest = self._stream.manifest
        folder.mkdir(parents=True, exist_ok=True)
        for first, path in newest_segments(folder).items():
            if first < manifest.end:
                path.unlink()
        has_notes = (folder / "policy.state").exists()
        tail = Tail(self.link, self._stream.blocks_name(""), folder)
        tail.fill(manifest.tail, manifest.end)
        if not has_notes:
            tail.keep_from(manifest.end, manifest.state)
        if not newest_segments(folder):
            segment_path(folder, manifest.end, 0).touch()

    def _hand_over(self) -> None:
        """Seal complete segments and send the open one's tail. Runs in the stream's thread."""
        with self._stream.lock:
            next_id, files = self.next_id, self._files()
            self._seal(files)
            if self._is_replicated:
                self._send_on(files[-1])
                self._acknowledged = max(self._acknowledged, next_id)
            self._clear()

    def _seal_all(self) -> None:
        if self._segments[-1].block_ids:
            self._begin(self.next_id)
        self._seal(self._files())

    def _seal(self, files: Sequence[SegmentFile]) -> None:
        """Write the complete ones of these to the store. Call it with the lock held."""
        stream = self._stream
        stream.find_out()
        for file, newer in pairwise(files):
            if file.first < self._sealed_below:
                continue
            is_new = file.first >= stream.manifest.end
            place = stream.blocks_name(f"{file.first:012d}-000000.{stream.manifest.fence}")
            with closing(SegmentFile(file.path, file.first, read_only=True)) as complete:
                sealed, heads = SealedSegment.of(complete, self.link, place, write=is_new)
            if is_new:
                entries = stream.manifest.segments
                segments = (*entries, sealed.entry) if heads else entries
                state = self._states.get(file.first, self._state)
                self._enter(state, segments=segments, end=newer.first)
            self._states.pop(file.first, None)
            self._sealed_below = newer.first
            self._sealed.append(sealed)
            self._spare += self._tail_names
            self._tail_names.clear()

    def _enter(self, state: State, end: int, **changes: Any) -> None:
        """Replace the manifest, with the policy's notes up to block `end`."""
        manifest, name = self._stream.manifest, None
        if state:
            name = f"{manifest.version + 1:08d}.{manifest.fence}"
            place = self._stream.blocks_name(f"state/{name}")
            self.link.write(place, state_entries(end - 1, state))
        self._stream.swap(state=name, end=end, **changes)
        if manifest.state is not None:
            self._spare.append(self._stream.blocks_name(f"state/{manifest.state}"))

    def _send_on(self, newest: SegmentFile) -> None:
        """Write to the tail what was appended since the last call."""
        while self._notes:
            self._unsent += self._notes.popleft()
        if self._tail_of != newest.first:
            self._tail_of, self._tailed = newest.first, 0
        size = newest.num_bytes
        if size == self._tailed and not self._unsent:
            return
        with newest.path.open("rb") as file:
            file.seek(self._tailed)
            data = self._unsent + file.read(size - self._tailed)
        name = tail_name(self._batches, newest.first, self._tailed, len(self._unsent))
        name = self._stream.blocks_name(f"tail/{self._stream.manifest.fence}/{name}")
        self.link.write(name, data)
        self._stream.require_ours()  # a later writer finds it
        self._tail_names.append(name)
        self._batches, self._tailed, self._unsent = self._batches + 1, size, b""

    def _rewritten(
        self, old: SealedSegment, records: Mapping[int, BlockRecord]
    ) -> tuple[SealedSegment, list[BlockHead]]:
        path = segment_path(self._folder, old.first, old.entry.generation + 1)
        partial = SegmentFile(path.with_suffix(".vskv.partial"), old.first)
        try:
            with closing(partial):
                for block_id in sorted(records):
                    partial.append(records[block_id])
            with closing(SegmentFile(partial.path, old.first, read_only=True)) as written:
                place = self._stream.blocks_name(f"{path.stem}.{self._stream.manifest.fence}")
                return SealedSegment.of(written, self.link, place)
        finally:
            partial.path.unlink(missing_ok=True)

    def _replaced(self, old: SealedSegment, new: SealedSegment | None) -> None:
        """Swap the segments here, once the manifest has the new one."""
        at, self._replacing, self._whole = self._segments.index(old), None, None
        self._segments[at : at + 1] = [new] if new else []
        self._spare += old.names
        with suppress(StoreError):  # the thread tries again
            self._clear()

    def _clear(self) -> None:
        """Delete what nothing refers to any more. Call it with the lock held."""
        while self._spare:
            self.link.delete(self._spare[-1:])
            self._spare.pop()

    def _sweep(self) -> None:
        """Delete what earlier writers left when they died. Later writers' objects stay."""
        manifest, place = self._stream.manifest, self._stream.blocks_name
        kept = {place(f"{e.name}{end}") for e in manifest.segments for end in (".vskv", ".index")}
        kept.add(place(f"state/{manifest.state}"))
        for name in set(self.link.names(place(""))) - kept:
            fence = (
                name.split("/")[3] if "/tail/" in name else name.rpartition("/")[2].split(".")[1]
            )
            if fence < manifest.fence:
                self._spare.append(name)
        self._clear()

    def _adopt(self) -> None:
        """Read from the store what the thread has sealed, and delete its files."""
        while self._sealed:
            sealed = self._sealed.popleft()
            [at] = [i for i, one in enumerate(self._segments) if one.first == sealed.first]
            file = self._segments[at]
            for block_id in set(sealed.block_ids).difference(file.block_ids):
                sealed.leave_out(block_id)
            self._segments[at : at + 1] = [sealed] if sealed.block_ids else []
            self._let_go(file)
            with store_errors(f"{file.path}: cannot be deleted"):
                file.path.unlink(missing_ok=True)
                index_path(file.path).unlink(missing_ok=True)
