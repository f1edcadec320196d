"""BlockRecord: one encoded block with all that is known of it, to bytes and back.

A record is the same in a file and anywhere else that keeps bytes:

    header               fixed size, little-endian: magic, format version, sizes, CRC32s
    meta                 JSON: fingerprint, codec, layout, times, positions, CRC32s of what follows
    representative keys  float32 [layers, kv_heads*head_dim], or several side by side; behind them
                         head vectors of other blocks, whose ids are in meta
    thumbnail            JPEG
    rows                 `layers` rows of `row_bytes` each, as the codec made them

Every row has a CRC32 of its own, so that one layer can be read alone and still be verified.
"""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float32

from memory.errors import BlockCorruptError, StoreError
from memory.kv_block import DTYPES, BlockInfo, RowForm, RowLayout
from memory.policy_hooks import StateChange
from memory.stream_entry import Provenance

FORMAT_VERSION = 2
"""To be raised whenever the bytes of a record change, a codec's row layout included. Version 1 is
read as well: its records have no number, they are counted from the start of their file.
"""

_MAGIC = b"VSKB"
_HEADER = struct.Struct("<4sHHIIIII")
_CRC32 = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC32.size


@dataclass(frozen=True, eq=False)
class BlockHead:
    """All of a record but its bulk: what the index and the block list are rebuilt from."""

    block_id: int
    provenance: Provenance
    form: RowForm
    info: BlockInfo
    representative_keys: Float32[np.ndarray, "layers features"]
    """The block's index vectors side by side, mostly one: the mean of its keys. Behind it stand the
    head vectors of the blocks in `left`; see `memory.head_vectors`.
    """
    is_rewritten: bool = False
    """Whether the memory policy has rewritten it."""
    left: tuple[int, ...] = ()

    @property
    def own_keys(self) -> Float32[np.ndarray, "layers vectors*kv_heads*head_dim"]:
        """The block's index vectors alone."""
        if not self.left:
            return self.representative_keys
        return self.representative_keys[:, : self.provenance.kv_heads * self.provenance.head_dim]

    @property
    def head_vectors(self) -> dict[int, Float32[np.ndarray, "layers heads*head_dim"]]:
        """Those of the blocks in `left`."""
        if not self.left:
            return {}
        width = self.own_keys.shape[1]
        behind = np.split(self.representative_keys[:, width:], len(self.left), axis=1)
        return dict(zip(self.left, behind, strict=True))

    def with_head_vectors(
        self, more: Mapping[int, Float32[np.ndarray, "layers heads*head_dim"]]
    ) -> Self:
        """The same head with head vectors of further blocks."""
        keys = np.concatenate([self.representative_keys, *more.values()], axis=1)
        return replace(self, representative_keys=keys, left=(*self.left, *more))


@dataclass(frozen=True, eq=False)
class BlockRecord:
    """A block as stores take it: its head and, for each layer, one encoded row of equal length."""

    head: BlockHead
    thumbnail: bytes
    rows: tuple[bytes, ...]
    noted: StateChange = field(default_factory=dict)
    """What the memory policy notes with it; in none of its bytes."""

    @property
    def num_bytes(self) -> int:
        """Of all that grows with the model and the picture."""
        keys_bytes = self.head.representative_keys.nbytes
        return keys_bytes + len(self.thumbnail) + sum(map(len, self.rows))

    @cached_property
    def thumbnail_crc32(self) -> int:
        return zlib.crc32(self.thumbnail)

    @cached_property
    def row_crc32s(self) -> tuple[int, ...]:
        return tuple(zlib.crc32(row) for row in self.rows)

    def to_bytes(self) -> bytes:
        return b"".join((self.head_bytes(), self.thumbnail, *self.rows))

    def head_bytes(self) -> bytes:
        """The record up to its thumbnail: header, meta and representative keys."""
        representative = self.head.representative_keys.astype("<f4").tobytes()
        meta = _to_meta(self.head, representative, self.thumbnail_crc32, self.row_crc32s)
        sizes = len(self.rows), len(meta), len(representative), len(self.thumbnail)
        header = RecordHeader(*sizes, len(self.rows[0]), zlib.crc32(meta))
        return b"".join((header.to_bytes(), meta, representative))

    @classmethod
    def from_bytes(cls, data: bytes, where: str, number: int = 0) -> Self:
        """Verify everything. `where` names the place in messages, `number` see StoredHead.

        Raises BlockCorruptError; StoreError if a newer version wrote the record.
        """
        header = RecordHeader.from_bytes(data, where)
        if len(data) != header.record_bytes:
            raise BlockCorruptError(f"{where}: {len(data)} bytes, expected {header.record_bytes}")
        stored = StoredHead.from_bytes(header, data, where, number)
        thumbnail = data[header.thumbnail_offset : header.rows_offset]
        verify_crc32(thumbnail, stored.thumbnail_crc32, f"{where}, thumbnail")
        starts = range(header.rows_offset, header.record_bytes, header.row_bytes)
        rows = tuple(data[start : start + header.row_bytes] for start in starts)
        for layer, (row, crc32) in enumerate(zip(rows, stored.row_crc32s, strict=True)):
            verify_crc32(row, crc32, f"{where}, layer {layer}")
        return cls(stored.head, thumbnail, rows)


class RecordHeader(NamedTuple):
    """The sizes of a record's parts, from which all offsets within it follow."""

    layers: int
    meta_bytes: int
    representative_bytes: int
    thumbnail_bytes: int
    row_bytes: int
    meta_crc32: int

    @property
    def thumbnail_offset(self) -> int:
        return HEADER_BYTES + self.meta_bytes + self.representative_bytes

    @property
    def rows_offset(self) -> int:
        return self.thumbnail_offset + self.thumbnail_bytes

    @property
    def record_bytes(self) -> int:
        return self.rows_offset + self.layers * self.row_bytes

    def to_bytes(self) -> bytes:
        packed = _HEADER.pack(_MAGIC, FORMAT_VERSION, *self)
        return packed + _CRC32.pack(zlib.crc32(packed))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """The header with which `data` begins.

        Raises BlockCorruptError; StoreError if a newer version wrote the record.
        """
        if len(data) < HEADER_BYTES or data[: len(_MAGIC)] != _MAGIC:
            raise BlockCorruptError(f"{where}: no block record begins here")
        if not _is_header(data, 0):
            raise BlockCorruptError(f"{where}: the record's header does not match its CRC32")
        _, version, *fields = _HEADER.unpack_from(data)
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{where}: the block record has format version {version}, this vstream reads up "
                f"to version {FORMAT_VERSION}; open it with the newer vstream that wrote it"
            )
        return cls(*fields)


def find_header(data: bytes) -> int:
    """Where in `data` the first header that matches its CRC32 begins; -1 if none does."""
    at = data.find(_MAGIC)
    while at >= 0 and not _is_header(data, at):
        at = data.find(_MAGIC, at + 1)
    return at


def may_be_a_record(data: bytes) -> bool:
    """Whether `data`, shorter than a header, may be the beginning of one."""
    return data.startswith(_MAGIC[: len(data)])


def _is_header(data: bytes, at: int) -> bool:
    end = at + _HEADER.size
    if len(data) < end + _CRC32.size:
        return False
    return _CRC32.unpack_from(data, end) == (zlib.crc32(data[at:end]),)


@dataclass(frozen=True, eq=False)
class StoredHead:
    """A head that was read back, with the CRC32s that the rest has to match."""

    head: BlockHead
    thumbnail_crc32: int
    row_crc32s: tuple[int, ...]

    @classmethod
    def from_bytes(cls, header: RecordHeader, data: bytes, where: str, number: int) -> Self:
        """`data` is a record, or what of it stands before the thumbnail.

        `number` is for records that have none of their own. Raises BlockCorruptError.
        """
        meta_end = HEADER_BYTES + header.meta_bytes
        meta_json = data[HEADER_BYTES:meta_end]
        representative = data[meta_end : header.thumbnail_offset]
        verify_crc32(meta_json, header.meta_crc32, f"{where}, meta part")
        meta = json.loads(meta_json)
        verify_crc32(representative, meta["representative_crc32"], f"{where}, representative keys")
        kv_heads, head_dim = meta["kv_heads"], meta["head_dim"]
        layout = RowLayout(kv_heads, meta["tokens"], head_dim, DTYPES[meta["dtype"]])
        positions, advance = (
            torch.tensor(meta[name], dtype=torch.int64) for name in ("positions", "advance")
        )
        times = meta["start_s"], meta["end_s"], meta["captured_at"]
        keys = np.frombuffer(representative, "<f4").astype(np.float32)
        head = BlockHead(
            meta.get("block_id", number),
            Provenance(meta["fingerprint"], header.layers, kv_heads, head_dim),
            RowForm(meta["codec"], layout),
            BlockInfo(*times, positions, advance),
            keys.reshape(header.layers, -1),
            meta.get("rewritten", False),
            tuple(meta.get("left", ())),
        )
        return cls(head, meta["thumbnail_crc32"], tuple(meta["row_crc32s"]))


def _to_meta(
    head: BlockHead, representative: bytes, thumbnail_crc32: int, row_crc32s: tuple[int, ...]
) -> bytes:
    info, layout = head.info, head.form.layout
    meta = {
        "block_id": head.block_id,
        "fingerprint": head.provenance.fingerprint,
        "codec": head.form.codec,
        "kv_heads": layout.kv_heads,
        "tokens": layout.tokens,
        "head_dim": layout.head_dim,
        "dtype": layout.dtype_name,
        "start_s": info.start_s,
        "end_s": info.end_s,
        "captured_at": info.captured_at,
        "positions": info.positions.tolist(),
        "advance": info.advance.tolist(),
        "representative_crc32": zlib.crc32(representative),
        "thumbnail_crc32": thumbnail_crc32,
        "row_crc32s": row_crc32s,
    }
    if head.is_rewritten:
        meta["rewritten"] = True
    if head.left:
        meta["left"] = head.left
    return json.dumps(meta, separators=(",", ":"), allow_nan=False).encode()


def verify_crc32(part: bytes, expected: int, where: str) -> None:
    """Raises BlockCorruptError, naming the place, if `part` is not what was written."""
    if zlib.crc32(part) != expected:
        raise BlockCorruptError(
            f"{where}: the bytes do not match their CRC32; the medium or another program changed "
            "them, restore the file from a copy"
        )
