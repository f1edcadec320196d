"""Segment index: what is known of a complete segment's blocks but their keys, in a file beside it.

Opening a stream reads it, and the keys from where it says they lie, and parses no record. It is a
CRC32 and what numpy.savez writes. Without one that is whole and fits the segment, opening takes
longer: the segment itself is read.
"""

import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt32

from memory.block_record import BlockHead
from memory.index_vectors import IndexVectors
from memory.kv_block import DTYPES, BlockInfo, RowForm, RowLayout
from memory.stream_entry import Provenance

_VERSION = 2
"""Raised with the format of records: who cannot read these reads the segment, and says so."""
_CRC32_BYTES = 4


class Extent(NamedTuple):
    """Where one record lies in its file, in bytes, and what its parts have to match.

    A day of blocks has 86,400 of these, so they are made of what an index holds as it is.
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

    def part(self, number: int) -> tuple[int, int]:
        """Offset and length of the part with that place in `crc32s`."""
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
    infos: list[tuple[RowForm, BlockInfo]]
    provenance: Provenance

    def heads(self, keys: Sequence[bytes]) -> Iterator[BlockHead]:
        """Their heads, given the representative keys of each."""
        make = self.provenance
        features = make.kv_heads * make.head_dim
        for block_id, of_block, (form, info) in zip(self.extents, keys, self.infos, strict=True):
            index = IndexVectors.from_bytes(of_block, make.layers, features, is_small=False)
            yield BlockHead(block_id, make, form, info, index)


def index_path(segment: Path) -> Path:
    return segment.with_suffix(".index")


def write_index(segment: Path, heads: Sequence[BlockHead], extents: Sequence[Extent]) -> int:
    """Of all blocks of a segment, which have one provenance; its bytes. Raises OSError."""
    forms: dict[tuple[Any, ...], int] = {}
    positions: dict[str, int] = {}
    form_of, positions_of = [], []
    for head in heads:
        layout, info = head.form.layout, head.info
        form = (head.form.codec, layout.tokens, layout.dtype_name)
        form_of.append(forms.setdefault(form, len(forms)))
        written = json.dumps([info.positions.tolist(), info.advance.tolist()])
        positions_of.append(positions.setdefault(written, len(positions)))
    about = {
        "version": _VERSION,
        "segment_bytes": extents[-1].end,
        "make": astuple(heads[0].provenance),
        "forms": list(forms),
        "positions": list(positions),
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        ids=np.array([head.block_id for head in heads]),
        times_s=np.array([(h.info.start_s, h.info.end_s, h.info.captured_at) for h in heads]),
        kinds=np.array([form_of, positions_of]),
        places=np.array([extent.places for extent in extents]),
        crc32s=np.array([extent.crc32s for extent in extents], dtype=np.uint32),
    )
    arrays = buffer.getvalue()
    partial = segment.with_suffix(".index.partial")
    crc32 = zlib.crc32(arrays).to_bytes(_CRC32_BYTES, "little")
    try:
        num_bytes = partial.write_bytes(crc32 + arrays)
        partial.rename(index_path(segment))
    finally:
        partial.unlink(missing_ok=True)
    return num_bytes


def read_index(segment: Path) -> IndexedBlocks | None:
    """What is known of a segment's blocks; None if there is no index that is whole."""
    try:
        data = index_path(segment).read_bytes()
    except OSError:
        return None
    crc32, arrays = data[:_CRC32_BYTES], data[_CRC32_BYTES:]
    if zlib.crc32(arrays).to_bytes(_CRC32_BYTES, "little") != crc32:
        return None
    with np.load(io.BytesIO(arrays), allow_pickle=False) as stored:
        crc32s = stored["crc32s"]
        part = {name: stored[name].tolist() for name in stored.files if name != "crc32s"}
    about = json.loads(bytes(part["about"]))
    if about["version"] > _VERSION:
        return None
    provenance = Provenance(*about["make"])
    forms = [
        RowForm(codec, RowLayout(provenance.kv_heads, tokens, provenance.head_dim, DTYPES[dtype]))
        for codec, tokens, dtype in about["forms"]
    ]
    positions = [
        [torch.tensor(numbers, dtype=torch.int64) for numbers in json.loads(written)]
        for written in about["positions"]
    ]
    infos = [
        (forms[form], BlockInfo(*times_s, *positions[at]))
        for times_s, form, at in zip(part["times_s"], *part["kinds"], strict=True)
    ]
    extents = dict(zip(part["ids"], map(Extent, part["places"], crc32s), strict=True))
    return IndexedBlocks(len(data), about["segment_bytes"], extents, infos, provenance)
