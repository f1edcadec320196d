"""SegmentFile: block records one after another in a file, from which one layer's rows can be read.

Reads use `pread`, never mmap: a cold map faults in page by page. Writes only append, so a process
that dies while writing leaves whole records and at most part of one, which the next writer cuts
off. `append` hands the bytes to the operating system and does not wait for the disk, so they
survive the death of the process; `flush` waits (fsync). A power cut can lose the blocks put since
the last `flush`. Damage shows by CRC32s, and the next record after it is found by its magic.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

from memory.block_record import (
    HEADER_BYTES,
    BlockHead,
    BlockRecord,
    RecordHeader,
    StoredHead,
    find_header,
    may_be_a_record,
    verify_crc32,
)
from memory.errors import BlockCorruptError, BlockNotFoundError, StoreError
from memory.fault import Fault
from memory.tiers.file.segment_index import Extent, index_path, read_index, write_index
from memory.tiers.file.whole_files import store_errors

_PIECE_BYTES = 2048, 1 << 20
"""How much to search for a record at a time, first and at most: it is usually near."""
_FEW_BLOCKS = 16
_NO_BLOCKS = "no block there matches its CRC32s"


class SegmentFile:
    """One file of records in the order of their ids. The caller ensures a single writer."""

    def __init__(self, path: Path, first: int, read_only: bool = False) -> None:
        """No record has an id below `first`. The file is opened on first use."""
        self.path = path
        self._flags = os.O_RDONLY if read_only else os.O_RDWR
        self.first = first
        self.num_bytes = 0
        """Up to the end of the last record."""
        self.index_bytes = self.picture_bytes = 0
        self._extents: dict[int, Extent] = {}
        self._left_out: list[tuple[int, int, int]] = []
        """Ranges of bytes between records that are no valid records, with how many ids are missing
        there.
        """
        self._indexed_bytes = 0
        """Where its index says that it ends."""
        self._is_ragged = False
        """Whether part of a record may follow the last one, which could not be written."""
        self._below: int | None = None
        """No block of it has that id or a higher one."""
        self.rest_bytes = 0
        """Bytes after the last record when it was scanned."""
        self.has_part = False
        """Whether an incomplete record begins there."""
        self._file = -1

    @property
    def block_ids(self) -> tuple[int, ...]:
        return tuple(self._extents)

    def scan(self, below: int | None = None) -> Iterator[BlockHead]:
        """Yield the heads of all records after the known ones, in order of their ids.

        Leaves out a record whose head does not match its CRC32s, or whose id is not above the
        previous ones and below `below`, and finds the next one by its magic. Rows and pictures are
        verified when they are read. Ends at an incomplete record. Raises StoreError.
        """
        file_bytes, self._below = os.fstat(self._opened()).st_size, below
        if not self.num_bytes:
            yield from self._scan_index(file_bytes)
        at, missed = self.num_bytes, 0
        while at + HEADER_BYTES <= file_bytes:
            header = self._header_at(at)
            if header is None:
                at = self._next_header(at + 1, file_bytes)
                missed += 1
                continue
            if at + header.record_bytes > file_bytes:
                break
            newest = next(reversed(self._extents), self.first - 1)
            # Records of version 1 have no id: count them, and as far as possible those left out.
            stored = self._head_at(at, header, newest + 1 + missed)
            at += header.record_bytes
            if stored is None or not newest < stored.head.block_id < (below or inf):
                missed += 1
                continue
            start, missed = at - header.record_bytes, 0
            if start > self.num_bytes:
                self._left_out.append((self.num_bytes, start, stored.head.block_id - newest - 1))
            self._extents[stored.head.block_id] = _extent(start, header, stored.crc32s)
            self.picture_bytes += header.thumbnail_bytes
            self.num_bytes = at
            yield stored.head
        self.rest_bytes = file_bytes - self.num_bytes
        self.has_part = at == self.num_bytes and self._is_part(at)

    def _scan_index(self, file_bytes: int) -> Iterator[BlockHead]:
        """Scan the index beside the segment, if it matches the segment."""
        indexed = read_index(self.path)
        if indexed is None:
            return
        self._indexed_bytes = indexed.segment_bytes
        if indexed.segment_bytes != file_bytes:
            return
        where = f"{self.path}, representative keys"
        extents = indexed.extents.values()
        keys = [self._pread(*extent.part(0), where) for extent in extents]
        if [zlib.crc32(one) for one in keys] != [extent.crc32s[0] for extent in extents]:
            return
        self._extents = indexed.extents
        self.num_bytes, self.index_bytes = file_bytes, indexed.num_bytes
        self.picture_bytes = sum(extent.picture_bytes for extent in extents)
        yield from map(BlockHead.of_meta, indexed.metas, keys)

    def write_index(self, heads: Sequence[BlockHead]) -> None:
        """Write the index of a complete segment; `heads` are all that a scan found.

        A damaged segment gets none, so that it is scanned again; one of few blocks is as fast
        without. Failure only costs time.
        """
        if len(heads) > _FEW_BLOCKS and not self.index_bytes and not self.damage(False):
            with suppress(OSError, ValueError):  # also if blocks differ in form
                self.index_bytes = write_index(self.path, heads, list(self._extents.values()))

    def missing_at_end(self, listed: int) -> int:
        """Return how many blocks are missing after the last record, if it held `listed` or more."""
        gaps = sum(ids for _, _, ids in self._left_out)
        return max(0, listed - len(self._extents) - gaps)

    def damage(self, is_newest: bool, listed: int = 0) -> list[Fault]:
        """Return where records were left out; call it after `scan`.

        `listed` says how many blocks it is known to have held. If it held no more than were found,
        an incomplete record at the end of the newest segment is no damage: it was never finished.
        """
        missing, at_end = max(0, listed - len(self._extents)), self.missing_at_end(listed)
        most = missing if listed and not is_newest else inf
        places = [(start, end, min(ids, most)) for start, end, ids in self._left_out]
        end = max(self.num_bytes + self.rest_bytes, self._indexed_bytes)
        if end > self.num_bytes and not (is_newest and self.has_part and not at_end):
            if not is_newest and not listed and self._below is not None:
                at_end = self._below - 1 - max(self._extents, default=self.first - 1)
            places.append((self.num_bytes, end, at_end))
        found = [
            Fault(f"{self.path}: bytes {start} to {end}: {_NO_BLOCKS}", int(ids))
            for start, end, ids in places
        ]
        if at_end and end == self.num_bytes:
            found.append(Fault(f"{self.path}: ends before its last block", at_end))
        return found

    def index_fault(self, is_newest: bool) -> Fault | None:
        """Return what is wrong with its index; call it after `scan`. The newest segment and damaged
        ones have none.
        """
        if is_newest or self.index_bytes or self.damage(is_newest=False):
            return None
        path = index_path(self.path)
        if path.exists():
            return Fault(f"{path}: does not match its segment")
        if len(self._extents) > _FEW_BLOCKS:
            return Fault(f"{path}: is missing")
        return None

    def rest(self) -> bytes:
        """Read what follows the last record."""
        return self._pread(self.num_bytes, self.rest_bytes, f"{self.path}: byte {self.num_bytes}")

    def cut(self) -> int:
        """Cut off what follows the last record; return how many bytes that was."""
        cut_bytes = os.fstat(self._opened(os.O_CREAT)).st_size - self.num_bytes
        if cut_bytes:
            os.ftruncate(self._opened(), self.num_bytes)
        self.rest_bytes, self.has_part, self._is_ragged = 0, False, False
        return cut_bytes

    def leave_out(self, block_id: int) -> None:
        """Treat the block as missing from now on."""
        if extent := self._extents.pop(block_id, None):
            self.picture_bytes -= extent.picture_bytes

    def append(self, record: BlockRecord) -> None:
        """Append a record. Raises StoreError if that fails; then the file is unchanged, or the next
        call removes what was written.
        """
        data, block_id = record.to_bytes(), record.head.block_id
        where = self._where(block_id, self.num_bytes)
        try:
            if self._is_ragged:
                self.cut()
            written = 0
            while written < len(data):
                written += os.pwrite(
                    self._opened(os.O_CREAT), data[written:], self.num_bytes + written
                )
        except OSError as error:
            self._is_ragged = True
            with suppress(OSError):
                self.cut()
            raise StoreError(
                f"{where}: cannot be written: {error.strerror}; make room or choose another store"
            ) from error
        header = RecordHeader.from_bytes(data, where)
        self._extents[block_id] = _extent(self.num_bytes, header, record.crc32s)
        self.num_bytes += len(data)
        self.picture_bytes += header.thumbnail_bytes

    def read_row(self, layer: int, block_id: int) -> bytes:
        """Raises BlockNotFoundError, BlockCorruptError, StoreError; so do the next two."""
        return self._part(block_id, 2 + layer, f"layer {layer}")

    def read_thumbnail(self, block_id: int) -> bytes:
        return self._part(block_id, 1, "thumbnail")

    def _part(self, block_id: int, part: int, name: str) -> bytes:
        extent = self._extent(block_id)
        where = f"{self._where(block_id, extent.start)}, {name}"
        data = self._pread(*extent.part(part), where)
        verify_crc32(data, extent.crc32s[part], where)
        return data

    def read_record(self, block_id: int) -> BlockRecord:
        extent = self._extent(block_id)
        where = self._where(block_id, extent.start)
        data = self._pread(extent.start, extent.end - extent.start, where)
        return BlockRecord.from_bytes(data, where, block_id)

    def sound_record(self, head: BlockHead) -> BlockRecord | None:
        """Return what is left of a block: without its picture if that is damaged, None if its keys
        and values are. Raises BlockNotFoundError, StoreError.
        """
        block_id = head.block_id
        with suppress(BlockCorruptError):
            return self.read_record(block_id)
        picture = b""
        with suppress(BlockCorruptError):
            picture = self.read_thumbnail(block_id)
        try:
            layers = range(head.provenance.layers)
            return BlockRecord(head, picture, tuple(self.read_row(i, block_id) for i in layers))
        except BlockCorruptError:
            return None

    def flush(self) -> None:
        """Return once all records would survive a power cut, even if the file had been closed."""
        with store_errors(f"{self.path}: cannot be flushed"):
            if self._is_ragged:
                self.cut()
            os.fsync(self._opened())

    def close(self) -> None:
        """Close the file; the next use reopens it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _opened(self, create: int = 0) -> int:
        if self._file < 0:
            try:
                self._file = os.open(self.path, self._flags | create | os.O_CLOEXEC, 0o644)
            except FileNotFoundError as error:
                raise BlockNotFoundError(
                    f"{self.path}: its blocks were rewritten or forgotten meanwhile"
                ) from error
            except OSError as error:
                why = f"{self.path}: cannot be opened for blocks: {error.strerror}"
                raise StoreError(why) from error
        return self._file

    def _header_at(self, offset: int) -> RecordHeader | None:
        """Return None if no header that matches its CRC32 begins there."""
        where = f"{self.path}: byte {offset}"
        try:
            return RecordHeader.from_bytes(self._pread(offset, HEADER_BYTES, where), where)
        except BlockCorruptError:
            return None

    def _head_at(self, offset: int, header: RecordHeader, number: int) -> StoredHead | None:
        """Return None if it does not match its CRC32s."""
        where = self._where(number, offset)
        head = self._pread(offset, header.thumbnail_offset, where)
        try:
            return StoredHead.from_bytes(header, head, where, number)
        except BlockCorruptError:
            return None

    def _is_part(self, offset: int) -> bool:
        """Return whether a record begins there, which `scan` then found to be incomplete."""
        beginning = self._pread(offset, HEADER_BYTES, f"{self.path}: byte {offset}")
        if len(beginning) < HEADER_BYTES:
            return bool(beginning) and may_be_a_record(beginning)
        return self._header_at(offset) is not None

    def _next_header(self, offset: int, file_bytes: int) -> int:
        """Return where the next header that matches its CRC32 begins, or else the file's end."""
        piece_bytes, most_bytes = _PIECE_BYTES
        while offset < file_bytes:
            piece = self._pread(offset, piece_bytes, f"{self.path}: byte {offset}")
            found = find_header(piece)
            if found >= 0:
                return offset + found
            if len(piece) < HEADER_BYTES:
                break
            offset += len(piece) - HEADER_BYTES + 1
            piece_bytes = min(2 * piece_bytes, most_bytes)
        return file_bytes

    def _extent(self, block_id: int) -> Extent:
        try:
            return self._extents[block_id]
        except KeyError:
            raise BlockNotFoundError(f"{self.path}: has no block {block_id}") from None

    def _pread(self, offset: int, num_bytes: int, where: str) -> bytes:
        try:
            return os.pread(self._opened(), num_bytes, offset)
        except OSError as error:
            raise StoreError(f"{where}: cannot be read: {error.strerror}") from error

    def _where(self, block_id: int, offset: int) -> str:
        return f"{self.path}: block {block_id} at byte {offset}"


def _extent(start: int, header: RecordHeader, crc32s: tuple[int, ...]) -> Extent:
    picture = header.thumbnail_offset
    places = picture - header.vectors_bytes, picture, header.rows_offset, header.record_bytes
    return Extent((start, *(start + place for place in places)), crc32s)
