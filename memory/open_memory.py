"""open_memory: a configuration and a stream's id in, the KVMemory of that stream out."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from memory.config import MemoryConfig
from memory.errors import StoreError
from memory.followed_memory import FollowedMemory
from memory.keep_policy import KeepPolicy
from memory.kv_memory import KVMemory
from memory.row_cache import RowCache
from memory.store_address import is_redis, require_stream_id, store_folder
from memory.stream_make import StreamMake
from memory.tiers.file.file_follower import FileFollower
from memory.tiers.file.file_tier import FileTier
from memory.tiers.file.stream_directory import (
    StreamDirectory,
    list_of_segments,
    read_description,
    segments_folder,
)
from memory.tiers.memory import HostTier
from memory.tiers.redis.redis_follower import RedisFollower
from memory.tiers.redis.redis_keys import RedisKeys
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.redis.redis_stream import RedisStream, redis_description
from memory.tiers.redis.redis_tier import RedisTier

SEGMENTS_IN_BUDGET = 16


def open_memory(
    config: MemoryConfig,
    stream_id: str,
    fingerprint: str,
    layers: int,
    kv_heads: int,
    head_dim: int,
    device: torch.device,
    keep_newest: int = 0,
) -> KVMemory:
    """Open what the store holds of this stream, or begin it. The index lives on `device`.

    Blocks that are damaged in files are left out, and said to be. The newest `keep_newest` blocks
    never age; others do at once if they are over the budget.

    Raises StoreError if the store cannot be used, or another writer has the stream open;
    FingerprintMismatchError if its blocks were made by another model or settings;
    BlockCorruptError if a block in Redis is damaged.
    """
    require_stream_id(stream_id)
    make = StreamMake(fingerprint, layers, kv_heads, head_dim)
    policy = KeepPolicy(config.codec, keep_newest, config.retain_s)
    if is_redis(config.store):
        return _open_redis(config, stream_id, make, device, policy)
    folder = store_folder(config.store)
    if folder is None:
        return KVMemory(make, device, HostTier(config.host_bytes), policy)
    return _open_files(config, folder / stream_id, make, device, policy)


def open_stored(config: MemoryConfig, stream_id: str) -> KVMemory:
    """Open a stream that the store holds already, whatever made it; nothing in it ages.

    Raises what `open_memory` raises, and StoreError if there is no such stream.
    """
    policy, device = KeepPolicy(config.codec), torch.device("cpu")
    config = config.model_copy(update={"file_bytes": None, "redis_bytes": None})
    if is_redis(config.store):
        return _open_redis(config, require_stream_id(stream_id), None, device, policy)
    folder = store_folder(config.store)
    if folder is None:
        raise StoreError(f"store {config.store}: holds no stream {stream_id!r}")
    return _open_files(config, folder / require_stream_id(stream_id), None, device, policy)


def note_stored(config: MemoryConfig, stream_id: str, note: dict[str, Any]) -> None:
    """Set the note of a stream that nobody writes; in files, also of one that is damaged.

    Raises what `open_stored` raises; of files, StoreError alone.
    """
    with _place(config, stream_id) as place:
        place.set_note(note)


def erase_stored(config: MemoryConfig, stream_id: str) -> None:
    """Delete a stream that nobody writes. In files also one whose blocks cannot be read.

    Raises what `open_stored` raises; of files, StoreError alone.
    """
    with _place(config, stream_id) as place:
        place.erase()


@contextmanager
def _place(config: MemoryConfig, stream_id: str) -> Iterator[KVMemory | StreamDirectory]:
    """Where a stream's note is, and what deletes it all."""
    folder = None if is_redis(config.store) else store_folder(config.store)
    if folder is None:
        with open_stored(config, stream_id) as memory:
            yield memory
    else:
        with closing(StreamDirectory(folder / require_stream_id(stream_id), None)) as directory:
            yield directory


def follow_memory(config: MemoryConfig, stream_id: str, device: torch.device) -> FollowedMemory:
    """Open a stream to read it while another process may write it, whatever made it.

    Raises StoreError if there is no such stream or it cannot be read from here; BlockCorruptError.
    """
    if is_redis(config.store):
        return _follow_redis(config, require_stream_id(stream_id), device)
    folder = store_folder(config.store)
    if folder is None:
        raise StoreError(
            f"store {config.store}: other processes cannot read it; keep streams in file:///DIR or "
            "redis://HOST"
        )
    path = folder / require_stream_id(stream_id)
    described = read_description(path)
    if described is None:
        raise StoreError(f"{path}: there is no such stream")
    if described.version == 1:
        raise StoreError(
            f"{path}: has format version 1; it is brought up to date when it is written to "
            "again, as by `vstream ingest`"
        )
    with ExitStack() as opened:
        follower = FileFollower(segments_folder(path))
        opened.callback(follower.close)
        memory = FollowedMemory(described.make, device, follower, RowCache(config.host_bytes))
        opened.pop_all()
    return memory


def _open_files(
    config: MemoryConfig,
    path: Path,
    make: StreamMake | None,
    device: torch.device,
    policy: KeepPolicy,
) -> KVMemory:
    with ExitStack() as opened:
        directory = StreamDirectory(path, make)
        opened.callback(directory.close)
        segment_bytes = int(config.segment_bytes)
        if config.file_bytes is not None:  # one segment's copy must fit beside the others
            segment_bytes = min(segment_bytes, config.file_bytes // SEGMENTS_IN_BUDGET)
        files = FileTier(
            directory.segments_path, segment_bytes, config.file_bytes, list_of_segments(path)
        )
        opened.callback(files.close)
        cache = RowCache(config.host_bytes)
        memory = KVMemory(directory.make, device, files, policy, cache, directory)
        memory.age()
        opened.pop_all()
    return memory


def _open_redis(
    config: MemoryConfig,
    stream_id: str,
    make: StreamMake | None,
    device: torch.device,
    policy: KeepPolicy,
) -> KVMemory:
    with ExitStack() as opened:
        link = RedisLink(config.store)
        opened.callback(link.close)
        stream = RedisStream(link, stream_id, make)
        opened.callback(stream.close)
        tier = RedisTier(link, stream, config.redis_bytes, config.buffer_bytes)
        cache = RowCache(config.host_bytes)
        memory = KVMemory(stream.make, device, tier, policy, cache, stream)
        memory.age()
        opened.pop_all()
    return memory


def _follow_redis(config: MemoryConfig, stream_id: str, device: torch.device) -> FollowedMemory:
    with ExitStack() as opened:
        link = RedisLink(config.store)
        opened.callback(link.close)
        described = redis_description(link, stream_id)
        if described is None:
            raise StoreError(f"{link.name}: there is no such stream: {stream_id}")
        follower = RedisFollower(link, RedisKeys(stream_id))
        memory = FollowedMemory(described[0], device, follower, RowCache(config.host_bytes))
        opened.pop_all()
    return memory
