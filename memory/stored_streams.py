"""stored_streams: a store in, what it remembers of each stream out; the streams may be live."""

import fcntl
import os
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from memory.errors import BlockNotFoundError, KVMemoryError, StoreError
from memory.kv_block import BlockInfo
from memory.store_address import is_redis, require_stream_id, store_folder
from memory.stream_make import StreamMake
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_folder import newest_segments
from memory.tiers.file.segment_list import SegmentList
from memory.tiers.file.stream_directory import (
    list_of_segments,
    read_description,
    segments_folder,
    stream_folders,
)
from memory.tiers.redis.redis_keys import STREAMS, RedisKeys
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.redis.redis_stream import redis_description

_ATTEMPTS = 5
"""A segment may be written anew or forgotten between the look at a folder and the look into it."""


@dataclass(frozen=True)
class StoredStream:
    """`state` is live while a process writes it. `from_s` to `to_s` is what is kept, 0 without."""

    id: str
    state: Literal["live", "stored"]
    blocks: int
    from_s: float
    to_s: float
    bytes_by_tier: dict[str, int]
    damaged: int = 0
    """Places in its files where blocks are damaged or missing; they are not counted."""
    error: str | None = None
    """Why its blocks cannot be read; then none are counted."""


@dataclass(frozen=True)
class FoundStream:
    """What made a stream, and whether a process writes it now."""

    make: StreamMake
    state: Literal["live", "stored"]
    note: dict[str, Any]
    """Its writer's own, see `KVMemory.set_note`."""
    note_lost: bool = False
    """Whether that is empty because what held it is damaged."""


def stored_ids(store: str) -> list[str]:
    """Ids of all streams of a store, without a look at them. Raises StoreError."""
    if is_redis(store):
        link = RedisLink(store)
        try:
            with link.told():
                return sorted(stream_id.decode() for stream_id in link.client.smembers(STREAMS))
        finally:
            link.close()
    folder = store_folder(store)
    if folder is None or not folder.is_dir():
        return []
    try:
        return [path.name for path in stream_folders(folder)]
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error}") from error


def stored_streams(store: str) -> list[StoredStream]:
    """All streams of a store, by id; none if it is empty or not there yet.

    Changes nothing; of files, reads the heads of all blocks. A stream that cannot be read says so
    in its `error`. Raises StoreError if the store cannot be read.
    """
    if is_redis(store):
        return _on_server(store)
    folder = store_folder(store)
    if folder is None or not folder.is_dir():
        return []
    try:
        return [_described(path) for path in stream_folders(folder)]
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error}") from error


def find_stream(store: str, stream_id: str) -> FoundStream | None:
    """One stream of a store, without a look at its blocks; None if there is none.

    Raises StoreError, also for an id that no stream can have.
    """
    require_stream_id(stream_id)
    if is_redis(store):
        link = RedisLink(store)
        try:
            described = redis_description(link, stream_id)
            with link.told():
                is_live = link.client.exists(RedisKeys(stream_id).lease)
        finally:
            link.close()
        return (
            None if described is None else FoundStream(described[0], _state(is_live), described[1])
        )
    folder = store_folder(store)
    found = None if folder is None else read_description(folder / stream_id)
    if folder is None or found is None:
        return None
    state = _state(_is_locked(folder / stream_id / "writer.lock"))
    return FoundStream(found.make, state, found.note, found.note_lost)


def _state(is_live: bool) -> Literal["live", "stored"]:
    return "live" if is_live else "stored"


def _on_server(store: str) -> list[StoredStream]:
    link = RedisLink(store)
    try:
        with link.told():
            ids = sorted(stream_id.decode() for stream_id in link.client.smembers(STREAMS))
            return [_on_record(link.client, stream_id) for stream_id in ids]
    finally:
        link.close()


def _on_record(client: Any, stream_id: str) -> StoredStream:
    keys = RedisKeys(stream_id)
    names = ("blocks", "from_s", "to_s", "bytes")
    blocks, from_s, to_s, num_bytes = (
        float(value or 0) for value in client.hmget(keys.meta, *names)
    )
    return StoredStream(
        id=stream_id,
        state=_state(client.exists(keys.lease)),
        blocks=int(blocks),
        from_s=from_s,
        to_s=to_s,
        bytes_by_tier={"redis": int(num_bytes)},
    )


def _described(path: Path) -> StoredStream:
    described = StoredStream(path.name, "stored", 0, 0.0, 0.0, {"file": 0})
    for _ in range(_ATTEMPTS):
        try:
            described = replace(described, state=_state(_is_locked(path / "writer.lock")))
            return _counted(path, described)
        except (BlockNotFoundError, FileNotFoundError) as error:
            described = replace(described, error=str(error))
        except (KVMemoryError, OSError) as error:
            return replace(described, error=str(error))
    return described


def _counted(path: Path, described: StoredStream) -> StoredStream:
    infos: list[BlockInfo] = []
    folder = segments_folder(path)
    listed_before = SegmentList(list_of_segments(path)).firsts
    found = newest_segments(folder) if folder.is_dir() else {}
    segments = [SegmentFile(file, first, read_only=True) for first, file in found.items()]
    for segment, below in zip(segments, [*list(found)[1:], None], strict=False):
        with closing(segment):
            infos += [head.info for head in segment.scan(below)]
    listed = SegmentList(list_of_segments(path))
    listed.firsts &= listed_before  # others began or were let go while the folder was looked at
    return replace(
        described,
        blocks=len(infos),
        from_s=infos[0].start_s if infos else 0.0,
        to_s=infos[-1].end_s if infos else 0.0,
        bytes_by_tier={"file": sum(segment.num_bytes for segment in segments)},
        damaged=len(listed.damage_of(segments)),
        error=None,
    )


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
