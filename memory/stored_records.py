"""stored_records: a stream in files in, its encoded blocks out, one after the other."""

from collections.abc import Iterator
from contextlib import closing

from memory.block_record import BlockRecord
from memory.config import MemoryConfig
from memory.errors import BlockCorruptError, StoreError
from memory.store_address import store_folder
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_folder import newest_segments
from memory.tiers.file.stream_directory import segments_folder


def stored_records(config: MemoryConfig, stream_id: str) -> Iterator[BlockRecord]:
    """All blocks in stream order, verified; one is held at a time, however long the stream.

    Nobody may be writing the stream. Raises StoreError if there is no such stream in files;
    BlockCorruptError at the first damage: whoever copies a stream wants it whole.
    """
    folder = store_folder(config.store)
    segments = segments_folder(folder / stream_id) if folder is not None else None
    if segments is None or not segments.is_dir():
        raise StoreError(f"store {config.store}: holds no stream {stream_id!r} in files")
    found = newest_segments(segments)
    for first, path in found.items():
        with closing(SegmentFile(path, first, read_only=True)) as segment:
            for head in segment.scan():
                yield segment.read_record(head.block_id)
            for told in segment.damage(is_newest=first == max(found)):
                raise BlockCorruptError(told)
