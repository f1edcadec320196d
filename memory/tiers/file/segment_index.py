"""Segment index: everything known of a complete segment's blocks but their keys, in its own file.

Opening a stream reads it, and the keys from the places it lists, and parses no record. It is a
CRC32, followed by JSON and a table, both in numpy.save's format. If it is damaged or does not match
the segment, the segment itself is read, which takes longer.
"""

import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt32

from memory.block_head import HeadMeta
from memory.block_info import BlockInfo, Provenance, RowForm, RowLayout
from memory.block_record import BlockHead

_VERSION = 3
"""Its CRC32 starts from this, so other versions never match. Increase it with the record format."""
_CRC32_BYTES = 4
_COLUMNS = [
    ("id", "<i8"),
    ("times_s", "<f8", 3),
    ("kind", "<i4"),
    ("positions", "<i4"),
    ("places", "<i8", 5),
    ("index_bytes", "<i8"),
]


class Extent(NamedTuple):
    """Where one record lies in its file, in bytes, and the CRC32s of its parts.

    A day of blocks has 86,400 of these, so they hold what an index holds, unconverted.
    """

    places: Sequence[int]
    """Where the record, its keys, its picture and its rows begin, and where it ends."""
    crc32s: Sequence[int] | UInt32[np.ndarray, " parts"]
    """Of the keys, the picture and each row."""

    @property
    def start(self) -> int:
        return self.places[0]

    @property
    def end(self) -> int:
        return self.places[4]

    @property
    def picture_bytes(self) -> int:
        return self.places[3] - self.places[2]

    def part(self, number: int) -> tuple[int, int]:
        """Return offset and length of the part with that place in `crc32s`."""
        if number < 2:
            return self.places[1 + number], self.places[2 + number] - self.places[1 + number]
        row_bytes = (self.end - self.places[3]) // (len(self.crc32s) - 2)
        return self.places[3] + (number - 2) * row_bytes, row_bytes


class IndexedBlocks(NamedTuple):
    """The blocks of one segment, in order of their ids."""

    num_bytes: int
    """Of the index itself."""
    segment_bytes: int
    extents: dict[int, Extent]
    metas: list[HeadMeta]


def index_path(segment: Path) -> Path:
    return segment.with_suffix(".index")


def write_index(segment: Path, heads: Sequence[BlockHead], extents: Sequence[Extent]) -> int:
    """Write the index of all blocks of a segment; return its bytes. Raises OSError."""
    data = packed_index(heads, extents)
    partial = segment.with_suffix(".index.partial")
    try:
        num_bytes = partial.write_bytes(data)
        partial.rename(index_path(segment))
    finally:
        partial.unlink(missing_ok=True)
    return num_bytes


def packed_index(heads: Sequence[BlockHead], extents: Sequence[Extent]) -> bytes:
    """Serialize the index of all blocks of a segment."""
    kinds: dict[tuple[Any, ...], int] = {}
    positions: dict[str, int] = {}
    kind_of, positions_of = [], []
    for head in heads:
        layout, info, make = head.form.layout, head.info, head.provenance
        form = head.form.codec, layout.tokens, layout.dtype_name
        sizes = make.layers, make.kv_heads, make.head_dim
        kind = (*form, head.is_rewritten, head.index.is_small, make.fingerprint, *sizes)
        kind_of.append(kinds.setdefault(kind, len(kinds)))
        written = json.dumps([info.positions.tolist(), info.advance.tolist()])
        positions_of.append(positions.setdefault(written, len(positions)))
    about = {
        "segment_bytes": extents[-1].end,
        "kinds": list(kinds),
        "positions": list(positions),
        "left": [tuple(head.left) for head in heads],
    }
    rows = np.empty(len(heads), dtype=[*_COLUMNS, ("crc32s", "<u4", len(extents[0].crc32s))])
    rows["id"] = [head.block_id for head in heads]
    rows["times_s"] = [(h.info.start_s, h.info.end_s, h.info.captured_at) for h in heads]
    rows["kind"], rows["positions"] = kind_of, positions_of
    rows["index_bytes"] = [head.index.nbytes for head in heads]
    rows["places"] = [extent.places for extent in extents]
    rows["crc32s"] = [extent.crc32s for extent in extents]
    buffer = io.BytesIO()
    np.save(buffer, np.frombuffer(json.dumps(about).encode(), dtype=np.uint8))
    np.save(buffer, rows)
    arrays = buffer.getvalue()
    return zlib.crc32(arrays, _VERSION).to_bytes(_CRC32_BYTES, "little") + arrays


def read_index(segment: Path) -> IndexedBlocks | None:
    """Return what is known of a segment's blocks; None without an intact index."""
    try:
        return unpacked_index(index_path(segment).read_bytes())
    except OSError:
        return None


def unpacked_index(data: bytes) -> IndexedBlocks | None:
    """Parse what `packed_index` returned; None if it is damaged."""
    crc32, arrays = data[:_CRC32_BYTES], data[_CRC32_BYTES:]
    if zlib.crc32(arrays, _VERSION).to_bytes(_CRC32_BYTES, "little") != crc32:
        return None
    buffer = io.BytesIO(arrays)
    about = json.loads(np.load(buffer, allow_pickle=False).tobytes())
    rows = np.load(buffer, allow_pickle=False)
    kinds = [_kind(*kind) for kind in about["kinds"]]
    positions = [_places(*json.loads(written)) for written in about["positions"]]
    ids, crc32s = rows["id"].tolist(), rows["crc32s"]
    times_s, kind_of, at = (rows[name].tolist() for name in ("times_s", "kind", "positions"))
    makes, forms, *are = zip(*(kinds[kind] for kind in kind_of), strict=True)
    infos = [
        BlockInfo.read(start_s, end_s, captured_at, positions[i])
        for (start_s, end_s, captured_at), i in zip(times_s, at, strict=True)
    ]
    left, index_bytes = map(tuple, about["left"]), rows["index_bytes"].tolist()
    columns = ids, makes, forms, infos, *are, crc32s, left, index_bytes
    metas = list(map(HeadMeta._make, zip(*columns, strict=True)))
    extents = dict(zip(ids, map(Extent, rows["places"].tolist(), crc32s), strict=True))
    return IndexedBlocks(len(data), about["segment_bytes"], extents, metas)


def _places(positions: list[list[int]], advance: list[int]) -> np.ndarray:
    return np.column_stack((positions, advance)).astype(np.int64, copy=False)


def _kind(
    codec: str, tokens: int, dtype: str, is_rewritten: bool, is_small: bool, *make: Any
) -> tuple[Provenance, RowForm, bool, bool]:
    provenance = Provenance(*make)
    layout = RowLayout(provenance.kv_heads, tokens, provenance.head_dim, dtype)
    return provenance, RowForm(codec, layout), is_rewritten, is_small
