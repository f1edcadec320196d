"""HeadMeta: the meta part of a record, to bytes and back. IndexVectors: the vectors by which a
search finds the block.

    fixed       little-endian: id, times, CRC32s of vectors and picture, layout, flags
    CRC32s      of the rows
    left        if any: the size of the index vectors, and the ids of the blocks whose head
                vectors follow them
    codec       its name
    positions   [axes, tokens + 1] in the narrowest integers that fit; the last column is `advance`
    make        the fingerprint; in a small record only its digest

Format versions 1 and 2 had JSON.
"""

import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float16, Float32, Int8, Int64

from memory.block_info import DTYPE_NAMES, BlockInfo, Provenance, RowForm, RowLayout
from memory.errors import BlockRejectedError

_FIXED = struct.Struct("<qdddIIIHHBBBBB")
_WIDTHS = ("<i1", "<i2", "<i4", "<i8")
_LEFT = struct.Struct("<IH")
_REWRITTEN, _SMALL, _HAS_LEFT = 1, 2, 4
_ALIKE = 256
"""How many different tails of meta parts are cached."""
_LARGEST_CODE = 127
_LEAST_SCALE = np.finfo(np.float16).tiny
"""A smaller scale would be too coarse in float16."""


class HeadMeta(NamedTuple):
    """Everything known of a block except its index vectors."""

    block_id: int
    provenance: Provenance
    form: RowForm
    info: BlockInfo
    is_rewritten: bool
    is_small: bool
    """Whether its index vectors are int8 and its provenance is a digest."""
    crc32s: tuple[int, ...]
    """Of the vectors, the picture and each row."""
    left: tuple[int, ...] = ()
    """Blocks whose head vectors it carries, after this many bytes of index vectors:"""
    index_bytes: int = 0

    def to_bytes(self) -> bytes:
        layout, info = self.form.layout, self.info
        codec = self.form.codec.encode()
        numbers = np.column_stack((info.positions.numpy(), info.advance.numpy()))
        width = next(
            at
            for at, name in enumerate(_WIDTHS)
            if np.iinfo(name).min <= numbers.min() and numbers.max() <= np.iinfo(name).max
        )
        fixed = _FIXED.pack(
            *(self.block_id, info.start_s, info.end_s, info.captured_at, *self.crc32s[:2]),
            *(layout.tokens, layout.kv_heads, layout.head_dim),
            _REWRITTEN * self.is_rewritten + _SMALL * self.is_small + _HAS_LEFT * bool(self.left),
            *(DTYPE_NAMES.index(layout.dtype_name), len(numbers), width, len(codec)),
        )
        crc32s = np.array(self.crc32s[2:], dtype="<u4").tobytes()
        if self.left:
            crc32s += _LEFT.pack(self.index_bytes, len(self.left))
            crc32s += np.array(self.left, dtype="<i8").tobytes()
        positions = numbers.astype(_WIDTHS[width]).tobytes()
        make = self.provenance
        fingerprint = make.digest if self.is_small else make.fingerprint.encode()
        return b"".join((fixed, crc32s, codec, positions, fingerprint))

    @classmethod
    def from_bytes(cls, meta: bytes, layers: int) -> Self:
        """Parse what `to_bytes` returned."""
        block_id, start_s, end_s, captured_at, *some = _FIXED.unpack_from(meta)
        vectors, picture, tokens, kv_heads, head_dim, flags, *sizes = some
        crc32s = struct.unpack_from(f"<{layers}I", meta, _FIXED.size)
        is_small, index_bytes = bool(flags & _SMALL), 0
        left: tuple[int, ...] = ()
        rest = meta[_FIXED.size + 4 * layers :]
        if flags & _HAS_LEFT:
            index_bytes, count = _LEFT.unpack_from(rest)
            left = struct.unpack_from(f"<{count}q", rest, _LEFT.size)
            rest = rest[_LEFT.size + 8 * count :]
        make, form, places = _read_rest(
            rest,
            *(is_small, layers, kv_heads, head_dim, tokens, *sizes),
        )
        return cls(
            block_id,
            make,
            form,
            BlockInfo.read(start_s, end_s, captured_at, places),
            bool(flags & _REWRITTEN),
            is_small,
            (vectors, picture, *crc32s),
            left,
            index_bytes,
        )

    @classmethod
    def from_json(cls, meta: bytes, layers: int, number: int) -> Self:
        """Parse what format versions 1 and 2 wrote; `number` is the id of records without one."""
        read = json.loads(meta)
        kv_heads, head_dim = read["kv_heads"], read["head_dim"]
        places = np.column_stack((read["positions"], read["advance"])).astype(np.int64, copy=False)
        return cls(
            read.get("block_id", number),
            Provenance(read["fingerprint"], layers, kv_heads, head_dim),
            RowForm(
                read["codec"],
                RowLayout(kv_heads, read["tokens"], head_dim, read["dtype"]),
            ),
            BlockInfo.read(read["start_s"], read["end_s"], read["captured_at"], places),
            read.get("rewritten", False),
            False,
            (read["representative_crc32"], read["thumbnail_crc32"], *read["row_crc32s"]),
        )


@lru_cache(_ALIKE)
def _read_rest(
    data: bytes,
    is_small: bool,
    layers: int,
    kv_heads: int,
    head_dim: int,
    tokens: int,
    dtype: int,
    axes: int,
    width: int,
    codec_bytes: int,
) -> tuple[Provenance, RowForm, Int64[np.ndarray, "axes ends"]]:
    """Parse what follows the rows' CRC32s; many blocks of a stream share it."""
    layout = RowLayout(kv_heads, tokens, head_dim, DTYPE_NAMES[dtype])
    numbers = np.frombuffer(data, _WIDTHS[width], axes * (tokens + 1), codec_bytes)
    make, sizes = data[codec_bytes + numbers.nbytes :], (layers, kv_heads, head_dim)
    return (
        Provenance.of_digest(make, *sizes) if is_small else Provenance(make.decode(), *sizes),
        RowForm(data[:codec_bytes].decode(), layout),
        numbers.astype(np.int64).reshape(axes, tokens + 1),
    )


@dataclass(frozen=True, eq=False)
class IndexVectors:
    """The index vectors of one block. A search scores it by the best; the first represents the
    block.

    They are float32, or int8 with a float16 scale per vector and layer; int8 ones that are read
    back and stored again are unchanged.
    """

    numbers: (
        Float32[np.ndarray, "layers vectors features"] | Int8[np.ndarray, "layers vectors features"]
    )
    scales: Float16[np.ndarray, "layers vectors 1"] | None = None
    """None for float32."""

    @classmethod
    def small(cls, vectors: Float32[np.ndarray, "layers vectors features"]) -> Self:
        """Quantize to int8. Raises BlockRejectedError for inf, nan or far too large numbers."""
        wanted = np.abs(vectors).max(axis=2, keepdims=True) / np.float32(_LARGEST_CODE)
        if not (wanted <= np.finfo(np.float16).max).all():
            raise BlockRejectedError(
                "memory: index vectors hold inf, nan or numbers beyond float16; look for the cause "
                "in the model's dtype or weights"
            )
        scales = np.maximum(wanted, _LEAST_SCALE).astype(np.float16)
        is_short = scales.astype(np.float32) < wanted
        scales = np.where(is_short, np.nextafter(scales, np.float16(np.inf)), scales)
        codes = np.rint(vectors / scales.astype(np.float32)).astype(np.int8)
        return cls(codes, scales)

    @classmethod
    def from_bytes(
        cls, data: bytes | memoryview, layers: int, features: int, is_small: bool
    ) -> Self:
        """Parse what `to_bytes` returned."""
        if not is_small:
            numbers = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
            return cls(numbers.reshape(layers, -1, features))
        vectors = len(data) // (layers * (features + 2))
        scales = np.frombuffer(data, "<f2", layers * vectors).astype(np.float16)
        codes = np.frombuffer(data, np.int8, offset=scales.nbytes)
        return cls(codes.reshape(layers, vectors, features), scales.reshape(layers, vectors, 1))

    @property
    def is_small(self) -> bool:
        return self.scales is not None

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def to_bytes(self) -> bytes:
        if self.scales is None:
            return self.numbers.astype("<f4").tobytes()
        return self.scales.astype("<f2").tobytes() + self.numbers.tobytes()

    def exact(self) -> Float32[np.ndarray, "layers vectors features"]:
        """Return them in float32, as a search compares them."""
        if self.scales is None:
            return self.numbers
        return self.numbers * self.scales.astype(np.float32)
