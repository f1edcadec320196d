"""BlockRecord: one encoded block with everything known of it, to bytes and back.

A record is the same bytes in a file and anywhere else:

    header               fixed size, little-endian: magic, format version, sizes, CRC32s
    meta                 fingerprint, codec, layout, times, positions, CRC32s of what follows
    index vectors        [layers, vectors, kv_heads*head_dim] in float32, or in int8 with scales
    head vectors         of other blocks, whose ids are in meta: [blocks, layers, heads*head_dim]
    thumbnail            JPEG
    rows                 `layers` rows of `row_bytes` each, as the codec made them

Every row has its own CRC32, so one layer can be read and verified by itself.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float32

from memory.block_head import HeadMeta, IndexVectors
from memory.block_info import BlockInfo, Provenance, RowForm
from memory.errors import BlockCorruptError, StoreError
from memory.policy_hooks import StateChange

FORMAT_VERSION = 3
"""Increase it whenever a record's bytes change, including a codec's row layout. Older ones can be
read: up to version 2 the meta part is JSON; records of version 1 have no id and are counted from
the start of their file.
"""
_BINARY_VERSION = 3

_MAGIC = b"VSKB"
_HEADER = struct.Struct("<4sHHIIIII")
_CRC32 = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC32.size


@dataclass(frozen=True, eq=False)
class BlockHead:
    """A record without its bulk: the index and the block list are rebuilt from it."""

    block_id: int
    provenance: Provenance
    form: RowForm
    info: BlockInfo
    index: IndexVectors
    """Usually one vector: the mean of its keys."""
    is_rewritten: bool = False
    """Whether the memory policy has rewritten it."""
    left: Mapping[int, Float32[np.ndarray, "layers heads*head_dim"]] = field(default_factory=dict)
    """Head vectors of the blocks that left the window as it arrived; see `memory.head_vectors`."""

    @property
    def representative_keys(self) -> Float32[np.ndarray, "layers vectors*kv_heads*head_dim"]:
        """The index vectors side by side."""
        exact = self.index.exact()
        return exact.reshape(len(exact), -1)

    @classmethod
    def of_meta(cls, meta: HeadMeta, vectors: bytes | memoryview) -> Self:
        """Build a head from its meta part and `vectors`, which is what `vectors()` returned."""
        make, left, size = meta.provenance, {}, len(vectors)
        if meta.left:
            size = meta.index_bytes
            behind = np.frombuffer(vectors, "<f4", offset=size).astype(np.float32)
            behind = behind.reshape(len(meta.left), make.layers, -1)
            left = dict(zip(meta.left, behind, strict=True))
        features = make.kv_heads * make.head_dim
        index = IndexVectors.from_bytes(vectors[:size], make.layers, features, meta.is_small)
        return cls(meta.block_id, make, meta.form, meta.info, index, meta.is_rewritten, left)

    def vectors(self) -> bytes:
        """Return the index vectors, followed by the head vectors."""
        behind = (one.astype("<f4").tobytes() for one in self.left.values())
        return b"".join((self.index.to_bytes(), *behind))


@dataclass(frozen=True, eq=False)
class BlockRecord:
    """A block as stores take it: its head and one encoded row per layer, all of equal length."""

    head: BlockHead
    thumbnail: bytes
    rows: tuple[bytes, ...]
    noted: StateChange = field(default_factory=dict)
    """What the memory policy notes with it; not part of its bytes."""

    @property
    def num_bytes(self) -> int:
        """Bytes of everything that grows with the model and the picture."""
        left_bytes = sum(one.nbytes for one in self.head.left.values())
        vector_bytes = self.head.index.nbytes + left_bytes
        return vector_bytes + len(self.thumbnail) + sum(map(len, self.rows))

    @cached_property
    def crc32s(self) -> tuple[int, ...]:
        """Of the vectors, the picture and each row."""
        return tuple(map(zlib.crc32, (self.head.vectors(), self.thumbnail, *self.rows)))

    def to_bytes(self) -> bytes:
        return b"".join((self.head_bytes(), self.thumbnail, *self.rows))

    def head_bytes(self) -> bytes:
        """Return the record up to its thumbnail: header, meta and vectors."""
        head, vectors = self.head, self.head.vectors()
        meta = HeadMeta(
            *(head.block_id, head.provenance, head.form, head.info),
            *(head.is_rewritten, head.index.is_small, self.crc32s),
            *(tuple(head.left), head.index.nbytes),
        ).to_bytes()
        sizes = len(self.rows), len(meta), len(vectors), len(self.thumbnail)
        header = RecordHeader(FORMAT_VERSION, *sizes, len(self.rows[0]), zlib.crc32(meta))
        return b"".join((header.to_bytes(), meta, vectors))

    @classmethod
    def from_bytes(cls, data: bytes, where: str, number: int = 0) -> Self:
        """Parse and verify. `where` names the place in messages; `number`: see StoredHead.

        Raises BlockCorruptError; StoreError if a newer version wrote the record.
        """
        header = RecordHeader.from_bytes(data, where)
        if len(data) != header.record_bytes:
            raise BlockCorruptError(f"{where}: {len(data)} bytes, expected {header.record_bytes}")
        stored = StoredHead.from_bytes(header, data, where, number)
        thumbnail = data[header.thumbnail_offset : header.rows_offset]
        _, picture, *of_rows = stored.crc32s
        verify_crc32(thumbnail, picture, f"{where}, thumbnail")
        starts = range(header.rows_offset, header.record_bytes, header.row_bytes)
        rows = tuple(data[start : start + header.row_bytes] for start in starts)
        for layer, (row, crc32) in enumerate(zip(rows, of_rows, strict=True)):
            verify_crc32(row, crc32, f"{where}, layer {layer}")
        return cls(stored.head, thumbnail, rows)


class RecordHeader(NamedTuple):
    """The sizes of a record's parts, from which all offsets in it follow."""

    version: int
    layers: int
    meta_bytes: int
    vectors_bytes: int
    thumbnail_bytes: int
    row_bytes: int
    meta_crc32: int

    @property
    def thumbnail_offset(self) -> int:
        return HEADER_BYTES + self.meta_bytes + self.vectors_bytes

    @property
    def rows_offset(self) -> int:
        return self.thumbnail_offset + self.thumbnail_bytes

    @property
    def record_bytes(self) -> int:
        return self.rows_offset + self.layers * self.row_bytes

    def to_bytes(self) -> bytes:
        packed = _HEADER.pack(_MAGIC, *self)
        return packed + _CRC32.pack(zlib.crc32(packed))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Parse the header at the start of `data`.

        Raises BlockCorruptError; StoreError if a newer version wrote the record.
        """
        if len(data) < HEADER_BYTES or data[: len(_MAGIC)] != _MAGIC:
            raise BlockCorruptError(f"{where}: no block record begins here")
        if not _is_header(data, 0):
            raise BlockCorruptError(f"{where}: the record's header does not match its CRC32")
        header = cls(*_HEADER.unpack_from(data)[1:])
        if header.version > FORMAT_VERSION:
            raise StoreError(
                f"{where}: the block record has format version {header.version}, this vstream "
                f"reads up to version {FORMAT_VERSION}; open it with the newer vstream that wrote "
                "it"
            )
        return header


def find_header(data: bytes) -> int:
    """Return where in `data` the first header that matches its CRC32 begins; -1 if none does."""
    at = data.find(_MAGIC)
    while at >= 0 and not _is_header(data, at):
        at = data.find(_MAGIC, at + 1)
    return at


def may_be_a_record(data: bytes) -> bool:
    """Return whether `data`, shorter than a header, may be the beginning of one."""
    return data.startswith(_MAGIC[: len(data)])


def _is_header(data: bytes, at: int) -> bool:
    end = at + _HEADER.size
    if len(data) < end + _CRC32.size:
        return False
    return _CRC32.unpack_from(data, end) == (zlib.crc32(data[at:end]),)


@dataclass(frozen=True, eq=False)
class StoredHead:
    """A head that was read back, with the CRC32s that the rest must match."""

    head: BlockHead
    crc32s: tuple[int, ...]
    """Of the index vectors, the picture and each row."""

    @classmethod
    def from_bytes(cls, header: RecordHeader, data: bytes, where: str, number: int) -> Self:
        """Parse a head; `data` is a record, or the part of it before the thumbnail.

        `number` is the id of records without one. Raises BlockCorruptError.
        """
        meta_end = HEADER_BYTES + header.meta_bytes
        meta, vectors = data[HEADER_BYTES:meta_end], data[meta_end : header.thumbnail_offset]
        verify_crc32(meta, header.meta_crc32, f"{where}, meta part")
        if header.version < _BINARY_VERSION:
            facts = HeadMeta.from_json(meta, header.layers, number)
        else:
            facts = HeadMeta.from_bytes(meta, header.layers)
        verify_crc32(vectors, facts.crc32s[0], f"{where}, representative keys")
        return cls(BlockHead.of_meta(facts, vectors), facts.crc32s)


def verify_crc32(part: bytes, expected: int, where: str) -> None:
    """Raise BlockCorruptError, naming the place, if `part` is not what was written."""
    if zlib.crc32(part) != expected:
        raise BlockCorruptError(
            f"{where}: the bytes do not match their CRC32; the medium or another program changed "
            "them, restore the file from a copy"
        )
