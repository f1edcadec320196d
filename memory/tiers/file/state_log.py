"""StateLog: what a memory policy noted of one stream, in an append-only file.

    entry    CRC32, id of its block, sizes of name and value (-1: deleted), name, value

An entry counts once its block has been put. It is written before that block, so a process that dies
leaves at most one entry too many. Nothing after a damaged entry is read. Once most of the file is
out of date it is rewritten, after the blocks are flushed: then no lost block can need the older
values. After a power cut, blocks that were not flushed may exist without their notes.
"""

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from memory.fault import Fault
from memory.policy_hooks import State, StateChange, state_bytes
from memory.tiers.file.whole_files import append_whole, flush_folder, keep_aside, store_errors

_SIZES = struct.Struct("<qIi")
_CRC32 = struct.Struct("<I")
_SPARE_BYTES = 64 << 10
"""A file may hold this many stale bytes, plus as many as are current."""


class StateLog:
    """Read by anyone, written by the stream's only writer. Without notes there is no file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_of: tuple[int, int, int] | None = None
        self._read_bytes = 0
        """Up to the end of the last entry that could be read."""
        self._state: State = {}

    @property
    def num_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def state(self, below: int) -> State:
        """Return what was noted with blocks of ids below `below`. Raises StoreError."""
        with self._told():
            try:
                found = self._path.stat()
            except FileNotFoundError:
                return {}
        of = (found.st_ino, found.st_size, below)
        if of != self._read_of:
            state: dict[str, bytes] = {}
            for block_id, name, value in self._entries():
                if value is None and block_id < below:
                    state.pop(name, None)
                elif value is not None and block_id < below:
                    state[name] = value
            self._state, self._read_of = state, of
        return self._state

    def fault(self) -> Fault | None:
        """Return where entries cannot be read, if there are any. Raises StoreError."""
        num_bytes = self.num_bytes
        if num_bytes:
            deque(self._entries(), maxlen=0)
        if self._read_bytes >= num_bytes:
            return None
        where = f"{self._path}: bytes {self._read_bytes} to {num_bytes}"
        return Fault(f"{where}: no note there matches its CRC32")

    def recover(self, next_id: int, aside: Path) -> State:
        """Like `state`; also remove entries that do not count, because their ids will be reused.
        A file with others that cannot be read is kept in the folder `aside`.
        """
        state = self.state(next_id)
        if self.num_bytes:
            if self.fault():
                with self._told():
                    keep_aside(self._path.read_bytes(), self._path.name, aside)
            self.rewrite(next_id - 1, state)
        return state

    def append(self, block_id: int, change: StateChange) -> None:
        """Append the entries of a change, or nothing. Raises StoreError."""
        with self._told(), self._path.open("ab") as file:
            append_whole(file.fileno(), state_entries(block_id, change))

    def is_stale(self, state: State) -> bool:
        """Return whether to rewrite it, `state` being all that counts."""
        return self.num_bytes > 2 * state_bytes(state) + _SPARE_BYTES

    def flush(self) -> None:
        """Make it survive a power cut."""
        if not self.num_bytes:
            return
        with self._told(), self._path.open("rb") as file:
            os.fsync(file.fileno())

    def rewrite(self, block_id: int, state: State) -> None:
        """Keep only `state`; the blocks up to `block_id` must be flushed. Raises StoreError."""
        partial = self._path.with_name(f"{self._path.name}.partial")
        with self._told():
            with partial.open("wb") as file:
                file.write(state_entries(block_id, state))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
            flush_folder(self._path.parent)

    def _entries(self) -> Iterator[tuple[int, str, bytes | None]]:
        """Yield entries up to the first that is damaged or incomplete."""
        with self._told():
            data = self._path.read_bytes()
        at = self._read_bytes = 0
        while len(data) >= at + _CRC32.size + _SIZES.size:
            block_id, name_bytes, value_bytes = _SIZES.unpack_from(data, at + _CRC32.size)
            begin = at + _CRC32.size + _SIZES.size
            middle = begin + name_bytes
            end = middle + max(0, value_bytes)
            if _CRC32.unpack_from(data, at) != (zlib.crc32(data[at + _CRC32.size : end]),):
                return
            value = data[middle:end] if value_bytes >= 0 else None
            at = self._read_bytes = end
            yield block_id, data[begin:middle].decode(), value

    def _told(self) -> AbstractContextManager[None]:
        return store_errors(f"{self._path}: cannot be used for notes")


def state_entries(block_id: int, change: StateChange) -> bytes:
    """Serialize a change as the file holds it."""
    return b"".join(_entry(block_id, name, value) for name, value in change.items())


def _entry(block_id: int, name: str, value: bytes | None) -> bytes:
    sizes = _SIZES.pack(block_id, len(name.encode()), -1 if value is None else len(value))
    body = sizes + name.encode() + (value or b"")
    return _CRC32.pack(zlib.crc32(body)) + body
