"""SegmentFile: block records one behind the other in one file, one layer's rows read back from it.

Reads are `pread`, never mmap: a cold map faults in page by page. Writes go to the end only, so a
process that dies while it writes leaves whole records and at most a part of one, which `scan` cuts
off. `append` hands the bytes to the operating system and does not wait for the disk, so they
survive the death of the process; `flush` waits (fsync). A power cut can cost the blocks put since
the last `flush`; those it left damaged are found by their CRC32s.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memory.block_record import (
    HEADER_BYTES,
    BlockHead,
    BlockRecord,
    RecordHeader,
    StoredHead,
    verify_crc32,
)
from memory.errors import BlockNotFoundError, StoreError


@dataclass(frozen=True)
class _Extent:
    """Where one record lies and what its rows have to match."""

    offset: int
    header: RecordHeader
    row_crc32s: tuple[int, ...]
    thumbnail_crc32: int


class SegmentFile:
    """One file of records in the order of their ids. The caller sees to it that one writes."""

    def __init__(self, path: Path, first: int, read_only: bool = False) -> None:
        """`first`: no record has a smaller id. The file is opened when it is needed."""
        self.path = path
        self._flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self.first = first
        self.num_bytes = 0
        self._extents: dict[int, _Extent] = {}
        self._file = -1

    @property
    def block_ids(self) -> tuple[int, ...]:
        return tuple(self._extents)

    @property
    def is_open(self) -> bool:
        return self._file >= 0

    def scan(self) -> Iterator[BlockHead]:
        """Verify and yield the heads of all whole records; stops at a part of one.

        Raises BlockCorruptError.
        """
        file_bytes = os.fstat(self._opened()).st_size
        while file_bytes - self.num_bytes >= HEADER_BYTES:
            number = self.first + len(self._extents)
            where = self._where(number, self.num_bytes)
            header = RecordHeader.from_bytes(
                self._pread(HEADER_BYTES, self.num_bytes, where), where
            )
            if self.num_bytes + header.record_bytes > file_bytes:
                break
            head = self._pread(header.rows_offset, self.num_bytes, where)
            stored = StoredHead.from_bytes(header, head, where, number)
            verify_crc32(
                head[header.thumbnail_offset :], stored.thumbnail_crc32, f"{where}, thumbnail"
            )
            self._extents[stored.head.block_id] = _Extent(
                self.num_bytes, header, stored.row_crc32s, stored.thumbnail_crc32
            )
            self.num_bytes += header.record_bytes
            yield stored.head

    def has_rest(self) -> bool:
        """Whether something lies behind the last whole record."""
        return os.fstat(self._opened()).st_size > self.num_bytes

    def cut(self) -> int:
        """Cut off what lies behind the last whole record; how many bytes that was."""
        cut_bytes = os.fstat(self._opened()).st_size - self.num_bytes
        if cut_bytes:
            os.ftruncate(self._opened(), self.num_bytes)
        return cut_bytes

    def append(self, record: BlockRecord) -> None:
        """Raises StoreError if it cannot be written; then the file is as it was."""
        data, block_id = record.to_bytes(), record.head.block_id
        where = self._where(block_id, self.num_bytes)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._opened(), data[written:], self.num_bytes + written)
        except OSError as error:
            # A part of a record must not stay where the next one goes; `scan` would cut it too.
            os.ftruncate(self._opened(), self.num_bytes)
            raise StoreError(
                f"{where}: cannot be written: {error.strerror}; make room or choose another store"
            ) from error
        self._extents[block_id] = _Extent(
            self.num_bytes,
            RecordHeader.from_bytes(data, where),
            record.row_crc32s,
            record.thumbnail_crc32,
        )
        self.num_bytes += len(data)

    def read_row(self, layer: int, block_id: int) -> bytes:
        """Raises BlockNotFoundError, BlockCorruptError, StoreError; so do the next two."""
        extent = self._extent(block_id)
        header = extent.header
        where = f"{self._where(block_id, extent.offset)}, layer {layer}"
        offset = extent.offset + header.rows_offset + layer * header.row_bytes
        row = self._pread(header.row_bytes, offset, where)
        verify_crc32(row, extent.row_crc32s[layer], where)
        return row

    def read_thumbnail(self, block_id: int) -> bytes:
        extent = self._extent(block_id)
        header = extent.header
        where = f"{self._where(block_id, extent.offset)}, thumbnail"
        offset = extent.offset + header.rows_offset - header.thumbnail_bytes
        thumbnail = self._pread(header.thumbnail_bytes, offset, where)
        verify_crc32(thumbnail, extent.thumbnail_crc32, where)
        return thumbnail

    def read_record(self, block_id: int) -> BlockRecord:
        extent = self._extent(block_id)
        where = self._where(block_id, extent.offset)
        data = self._pread(extent.header.record_bytes, extent.offset, where)
        return BlockRecord.from_bytes(data, where, block_id)

    def flush(self) -> None:
        """Return once all records would survive a power cut, also if the file had been closed."""
        try:
            os.fsync(self._opened())
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be flushed: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        if self.is_open:
            os.close(self._file)
            self._file = -1

    def _opened(self) -> int:
        if not self.is_open:
            try:
                self._file = os.open(self.path, self._flags | os.O_CLOEXEC, 0o644)
            except FileNotFoundError as error:
                raise BlockNotFoundError(
                    f"{self.path}: its blocks were written anew or forgotten meanwhile"
                ) from error
            except OSError as error:
                raise StoreError(
                    f"{self.path}: cannot be opened for blocks: {error.strerror}"
                ) from error
        return self._file

    def _extent(self, block_id: int) -> _Extent:
        try:
            return self._extents[block_id]
        except KeyError:
            raise BlockNotFoundError(f"{self.path}: has no block {block_id}") from None

    def _pread(self, num_bytes: int, offset: int, where: str) -> bytes:
        try:
            return os.pread(self._opened(), num_bytes, offset)
        except OSError as error:
            raise StoreError(f"{where}: cannot be read: {error.strerror}") from error

    def _where(self, block_id: int, offset: int) -> str:
        return f"{self.path}: block {block_id} at byte {offset}"
