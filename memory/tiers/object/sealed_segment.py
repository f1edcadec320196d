"""SealedSegment reads a segment in an object store by ranges; SealedReading reads rows of several.

A segment's snapshot holds all that opening needs: the file tier's index (see segment_index),
followed by the vectors of all blocks. If it is damaged, the segment itself is read.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np

from memory.block_record import BlockHead, BlockRecord, verify_crc32
from memory.errors import BlockNotFoundError, StoreError
from memory.fault import Fault
from memory.tiers.file.file_tier import SegmentFolder
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_index import packed_index, unpacked_index
from memory.tiers.object.manifest import SealedEntry
from memory.tiers.object.object_link import ObjectLink

_LENGTH_BYTES = 4


class SealedSegment(SegmentFile):
    """One sealed segment, which never changes."""

    def __init__(
        self, link: ObjectLink, place: str, entry: SealedEntry, is_there: bool = True
    ) -> None:
        """`place` is the name of the object, without its ending.

        A missing object is damage if `is_there`; else it has been replaced meanwhile.
        """
        super().__init__(Path(place), entry.first, read_only=True)
        self.entry = entry
        self._link = link
        self._is_there = is_there
        self._snapshot: memoryview | None = None

    @classmethod
    def of(
        cls, segment: SegmentFile, link: ObjectLink, place: str, write: bool = True
    ) -> tuple[Self, list[BlockHead]]:
        """Seal a complete segment file, and write it to the store if `write`. Return it with its
        heads.
        """
        heads = list(segment.scan())
        infos = [head.info for head in heads]
        times = (infos[0].start_s, infos[-1].end_s) if infos else (0.0, 0.0)
        name = place.rpartition("/")[2]
        made = cls(link, place, SealedEntry(name, segment.num_bytes, len(heads), *times))
        made._take(segment)
        index = packed_index(heads, list(made._extents.values()))
        parts = [len(index).to_bytes(_LENGTH_BYTES, "little"), index, *(h.vectors() for h in heads)]
        snapshot = b"".join(parts)
        made.index_bytes = len(snapshot)
        if write:
            link.write(f"{place}.vskv", segment.path.read_bytes()[: segment.num_bytes])
            link.write(f"{place}.index", snapshot)
        return made, heads

    @property
    def names(self) -> list[str]:
        return [f"{self.path}.vskv", f"{self.path}.index"]

    def fetch(self) -> Self:
        """Fetch its snapshot, for the next `scan`."""
        found = self._link.read(f"{self.path}.index")
        self._snapshot = memoryview(found[0] if found else b"")
        return self

    def scan(self, below: int | None = None) -> Iterator[BlockHead]:
        """See SegmentFile; only the first call yields anything. Raises BlockNotFoundError."""
        if self.num_bytes:
            return
        if self._snapshot is None:
            self.fetch()
        assert self._snapshot is not None
        data, self._snapshot = self._snapshot, None
        yield from self._read_snapshot(data) or self._scanned()

    def _read_snapshot(self, data: memoryview) -> list[BlockHead]:
        """Return the heads in a snapshot; none if it is damaged."""
        at = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
        indexed = (
            unpacked_index(bytes(data[_LENGTH_BYTES:at])) if len(data) > _LENGTH_BYTES else None
        )
        if indexed is None:
            return []
        extents = list(indexed.extents.values())
        ends = accumulate((e.places[2] - e.places[1] for e in extents), initial=at)
        vectors = [data[start:end] for start, end in pairwise(ends)]
        of_vectors = np.array([extent.crc32s[0] for extent in extents])
        if not (np.fromiter(map(zlib.crc32, vectors), "<u4") == of_vectors).all():
            return []
        self._extents, self.num_bytes = indexed.extents, indexed.segment_bytes
        self.index_bytes = len(data)
        self.picture_bytes = sum(extent.places[3] - extent.places[2] for extent in extents)
        return list(map(BlockHead.of_meta, indexed.metas, vectors))

    def _scanned(self) -> list[BlockHead]:
        """Return the heads in the segment itself."""
        found = self._link.read(f"{self.path}.vskv")
        if found is None and self._is_there:
            self.num_bytes = self.entry.num_bytes
            self._left_out = [(0, self.num_bytes, self.entry.blocks)]
            return []
        if found is None:
            raise BlockNotFoundError(f"{self._link.name}: {self.path} is gone")
        with TemporaryDirectory() as folder:
            copy = SegmentFile(Path(folder) / self.path.name, self.first)
            copy.path.write_bytes(found[0])
            heads = list(copy.scan())
            copy.close()
        self._take(copy)
        return heads

    def _take(self, segment: SegmentFile) -> None:
        self._extents, self._left_out = dict(segment._extents), segment._left_out
        self.num_bytes, self.picture_bytes = segment.num_bytes, segment.picture_bytes

    def write_index(self, heads: Sequence[BlockHead]) -> None:
        """It is in the store."""

    def index_fault(self, is_newest: bool) -> Fault | None:
        if self.index_bytes or self._left_out:
            return None
        return Fault(f"{self._link.name}: {self.path}.index: does not match its segment")

    def cut(self) -> int:
        return 0

    def flush(self) -> None:
        """It is in the store."""

    def close(self) -> None:
        """Nothing is open."""

    def read_parts(self, part: int, name: str, block_ids: Sequence[int]) -> list[bytes]:
        """Read one part of each block, in one call. Raises what `read_row` raises."""
        extents = [self._extent(block_id) for block_id in block_ids]
        found = self._link.ranges(f"{self.path}.vskv", [extent.part(part) for extent in extents])
        for block_id, extent, data in zip(block_ids, extents, found, strict=True):
            where = f"{self._where(block_id, extent.start)}, {name}"
            verify_crc32(data, extent.crc32s[part], where)
        return found

    def read_whole(self) -> bytes:
        """Read the whole segment. Raises BlockNotFoundError, StoreError."""
        return self._pread(0, self.num_bytes, "")

    def record_in(self, whole: bytes, block_id: int) -> BlockRecord:
        """Return a record of the `whole` segment. Raises BlockNotFoundError, BlockCorruptError."""
        extent = self._extent(block_id)
        where = self._where(block_id, extent.start)
        return BlockRecord.from_bytes(whole[extent.start : extent.end], where, block_id)

    def _pread(self, offset: int, num_bytes: int, where: str) -> bytes:
        return self._link.ranges(f"{self.path}.vskv", [(offset, num_bytes)])[0]


class SealedReading(SegmentFolder):
    """A folder whose segments are sealed, except the newest."""

    link: ObjectLink
    _whole: tuple[SealedSegment, bytes] | None = None
    """The segment of which a record was last read."""

    def read_record(self, block_id: int) -> BlockRecord:
        """Read a record; of a sealed segment read all, because the caller mostly reads it all."""
        segment = self._holding(block_id)
        if not isinstance(segment, SealedSegment):
            return super().read_record(block_id)
        if self._whole is None or self._whole[0] is not segment:
            self._whole = segment, segment.read_whole()
        return segment.record_in(self._whole[1], block_id)

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return self._parts(2 + layer, f"layer {layer}", block_ids)

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        return self._parts(1, "thumbnail", block_ids)

    def _parts(self, part: int, name: str, block_ids: Sequence[int]) -> list[bytes]:
        """Read a part of each block, from all segments side by side."""
        ids_of: dict[SegmentFile, list[int]] = {}
        for block_id in dict.fromkeys(block_ids):
            ids_of.setdefault(self._holding(block_id), []).append(block_id)

        def read(of: tuple[SegmentFile, list[int]]) -> list[tuple[int, bytes]]:
            segment, ids = of
            if isinstance(segment, SealedSegment):
                return list(zip(ids, segment.read_parts(part, name, ids), strict=True))
            return [(block_id, segment._part(block_id, part, name)) for block_id in ids]

        is_one = len(ids_of) == 1
        found = map(read, ids_of.items()) if is_one else self.link.at_once(read, ids_of.items())
        parts = dict(pair for pairs in found for pair in pairs)
        return [parts[block_id] for block_id in block_ids]


def fetched(link: ObjectLink, segments: Iterable[SealedSegment]) -> None:
    """Fetch the snapshots of these segments side by side, where they exist."""

    def fetch(segment: SealedSegment) -> None:
        try:
            segment.fetch()
        except StoreError:
            return  # the scan says so

    for _ in link.at_once(fetch, segments):
        pass
