"""InFiles: streams in folders of a directory, `file:///DIR`."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

from memory.block_info import Provenance
from memory.block_record import BlockRecord
from memory.block_store import FollowedSource
from memory.config import MemoryConfig
from memory.errors import BlockCorruptError, KVMemoryError, StoreError
from memory.stream_entry import StreamEntry
from memory.stream_report import StreamReport
from memory.tiers.file.file_follower import FileFollower
from memory.tiers.file.file_tier import FileTier, aside_folder, newest_segments
from memory.tiers.file.line_file import LineFile, lines_in
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.stream_directory import (
    StreamDirectory,
    faults_of_descriptions,
    list_of_segments,
    read_description,
    segments_folder,
    stream_folders,
)
from memory.tiers.file.whole_files import store_errors
from memory.tiers.tier import FoundStream, StoredStream, StreamState, Tier, store_name, tier_of

SEGMENTS_IN_BUDGET = 16


class InFiles(Tier):
    """Streams may be live in other processes of this machine."""

    name = "file"
    lasts = True
    budget = "file_bytes"

    def __init__(self, store: str) -> None:
        super().__init__(store)
        path = re.fullmatch(r"file:(?://)?(/(?!/)[^?#]*)", store)
        if path is None:
            raise StoreError(
                f"store {store_name(store)!r}: give the directory as an absolute path with three "
                "slashes, as file:///var/lib/streams"
            )
        self.folder = Path(unquote(path[1]))

    def enter(self, stream_id: str, provenance: Provenance | None) -> StreamDirectory:
        return StreamDirectory(self.folder / stream_id, provenance)

    def blocks(self, entry: StreamEntry, config: MemoryConfig) -> FileTier:
        assert isinstance(entry, StreamDirectory)
        segment_bytes, listed = int(config.segment_bytes), list_of_segments(entry.path)
        if config.file_bytes is not None:  # leave room for a segment's copy
            segment_bytes = min(segment_bytes, config.file_bytes // SEGMENTS_IN_BUDGET)
        return FileTier(segments_folder(entry.path), segment_bytes, config.file_bytes, listed)

    def follow(self, stream_id: str) -> tuple[Provenance, FollowedSource]:
        path = self.folder / stream_id
        described = read_description(path)
        if described is None:
            raise StoreError(f"{path}: there is no such stream")
        if described.version == 1:
            raise StoreError(
                f"{path}: has format version 1; it is brought up to date when it is written to "
                "again, as by `vstream ingest`"
            )
        return described.provenance, FileFollower(segments_folder(path), list_of_segments(path))

    def lines(self, name: str, most: int) -> LineFile:
        return LineFile(self._lines_path(name), most)

    def kept_lines(self, name: str, most: int) -> list[str]:
        return lines_in(self._lines_path(name))

    def _lines_path(self, name: str) -> Path:
        return self.folder / f".{name}.jsonl"  # no stream id begins with a dot

    def ids(self) -> list[str]:
        return [path.name for path in self._paths()]

    def streams(self) -> list[StoredStream]:
        """Read the heads of all blocks; change nothing."""
        return [_described(path) for path in self._paths()]

    def find(self, stream_id: str) -> FoundStream | None:
        path = self.folder / stream_id
        found = read_description(path)
        if found is None:
            return None
        return FoundStream(found.provenance, _state(path), found.note, found.note_lost)

    def verify(self, stream_id: str) -> StreamReport:
        report, path = super().verify(stream_id), self.folder / stream_id
        faults = (*faults_of_descriptions(path, report.is_live), *report.faults)
        aside = aside_folder(path)
        return replace(report, faults=faults, set_aside=str(aside) if aside.exists() else None)

    def repair(self, stream_id: str) -> None:
        with (
            closing(self.enter(stream_id, None)) as entry,
            closing(self.blocks(entry, MemoryConfig(store=self.store))) as blocks,
        ):
            blocks.repair(list(blocks.recover()))

    def erase(self, stream_id: str) -> None:
        """Erase a stream, even if its blocks cannot be read."""
        with closing(self.enter(stream_id, None)) as directory:
            directory.erase()

    def require_there(self) -> None:
        if not self.folder.is_dir():
            raise StoreError(f"{self.folder}: there is no such folder; check the store's address")

    def check(self) -> str:
        """Create a stream in a temporary folder, then remove the folder."""
        if not self.folder.exists():
            above = next(one for one in self.folder.parents if one.exists())
            if not above.is_dir() or not os.access(above, os.W_OK):
                raise StoreError(f"{self.folder}: there is no such folder, and none can be made")
            return f"{self.store} is no folder yet; what is kept there makes it"
        try:
            with TemporaryDirectory(dir=self.folder, prefix=".check-") as probe:
                StreamDirectory(Path(probe) / "check", Provenance("check", 1, 1, 2)).close()
        except OSError as error:
            raise StoreError(str(error)) from error
        return f"{self.store} can be written"

    def _paths(self) -> list[Path]:
        try:
            return stream_folders(self.folder)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be read: {error}") from error


def stored_records(config: MemoryConfig, stream_id: str) -> Iterator[BlockRecord]:
    """Yield all blocks in stream order, verified, one at a time, however long the stream.

    Nobody may be writing the stream. Raises StoreError if there is no such stream in files;
    BlockCorruptError at the first damage: a copy must be whole.
    """
    tier = tier_of(config.store)
    segments = segments_folder(tier.folder / stream_id) if isinstance(tier, InFiles) else None
    if segments is None or not segments.is_dir():
        store = store_name(config.store)
        raise StoreError(f"store {store}: holds no stream {stream_id!r} in files")
    found = newest_segments(segments)
    for first, path in found.items():
        with closing(SegmentFile(path, first, read_only=True)) as segment:
            for head in segment.scan():
                yield segment.read_record(head.block_id)
            for damage in segment.damage(is_newest=first == max(found)):
                raise BlockCorruptError(str(damage))


def _described(path: Path) -> StoredStream:
    described = StoredStream(path.name, "stored", 0, 0.0, 0.0, {"file": 0})
    try:
        described = replace(described, state=_state(path))
        with closing(FileFollower(segments_folder(path), list_of_segments(path))) as follower:
            infos = [head.info for head in follower.recover()]
            return replace(
                described,
                blocks=len(infos),
                from_s=infos[0].start_s if infos else 0.0,
                to_s=infos[-1].end_s if infos else 0.0,
                bytes_by_tier={"file": follower.num_bytes},
                damaged=len(follower.damage()),
            )
    except KVMemoryError as error:
        return replace(described, error=str(error))


def _state(path: Path) -> StreamState:
    """Return "live" while a process holds the writer's lock. Raises StoreError."""
    with store_errors(f"{path}: its lock cannot be read"):
        try:
            lock = os.open(path / "writer.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return "stored"
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "live"
        finally:
            os.close(lock)
        return "stored"
