"""FileTier: block records appended to one file, one layer's rows read back from it.

Reads are `pread`, never mmap: a cold map faults in page by page. Writes go to the end only, so a
process that dies while it writes leaves whole records and at most a part of one, which `recover`
cuts off. `put` hands the bytes to the operating system and does not wait for the disk, so they
survive the death of the process; `flush` and `close` wait (fsync). A power cut can cost the blocks
put since the last `flush`; those it left damaged are found by their CRC32s.
"""

import os
from collections.abc import Iterator, Sequence
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


class FileTier:
    """A DurableStore in one append-only file. The caller sees to it that nobody else writes it."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError if the file cannot be opened for reading and writing."""
        self.name = "file"
        self.cut_bytes = 0
        self._path = path
        self._extents: list[_Extent] = []
        self._end = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened for blocks: {error.strerror}") from error

    @property
    def num_bytes(self) -> int:
        return self._end

    def recover(self) -> Iterator[BlockHead]:
        file_bytes = os.fstat(self._file).st_size
        while file_bytes - self._end >= HEADER_BYTES:
            where = self._where(len(self._extents), self._end)
            header = RecordHeader.from_bytes(self._pread(HEADER_BYTES, self._end, where), where)
            if self._end + header.record_bytes > file_bytes:
                break
            body_bytes = header.rows_offset - HEADER_BYTES
            body = self._pread(body_bytes, self._end + HEADER_BYTES, where)
            stored = StoredHead.from_bytes(header, body, where)
            self._extents.append(_Extent(self._end, header, stored.row_crc32s))
            self._end += header.record_bytes
            yield stored.head
        self.cut_bytes = file_bytes - self._end
        if self.cut_bytes:
            os.ftruncate(self._file, self._end)

    def put(self, block_id: int, record: BlockRecord) -> None:
        assert block_id == len(self._extents), "blocks are appended in order"
        data = record.to_bytes()
        where = self._where(block_id, self._end)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self._end + written)
        except OSError as error:
            # A part of a record must not stay where the next one goes; `recover` would cut it too.
            os.ftruncate(self._file, self._end)
            raise StoreError(
                f"{where}: cannot be written: {error.strerror}; make room or choose another store"
            ) from error
        self._extents.append(
            _Extent(self._end, RecordHeader.from_bytes(data, where), record.row_crc32s)
        )
        self._end += len(data)

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return [self._read_row(layer, block_id) for block_id in block_ids]

    def flush(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be flushed: {error.strerror}") from error

    def close(self) -> None:
        if self._file >= 0:
            self.flush()
            os.close(self._file)
            self._file = -1

    def _read_row(self, layer: int, block_id: int) -> bytes:
        if not 0 <= block_id < len(self._extents):
            raise BlockNotFoundError(
                f"{self._path}: has blocks 0 to {len(self._extents) - 1}, not block {block_id}"
            )
        extent = self._extents[block_id]
        header = extent.header
        where = f"{self._where(block_id, extent.offset)}, layer {layer}"
        offset = extent.offset + header.rows_offset + layer * header.row_bytes
        row = self._pread(header.row_bytes, offset, where)
        verify_crc32(row, extent.row_crc32s[layer], where)
        return row

    def _pread(self, num_bytes: int, offset: int, where: str) -> bytes:
        try:
            return os.pread(self._file, num_bytes, offset)
        except OSError as error:
            raise StoreError(f"{where}: cannot be read: {error.strerror}") from error

    def _where(self, block_id: int, offset: int) -> str:
        return f"{self._path}: block {block_id} at byte {offset}"
