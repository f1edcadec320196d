"""TierStore: an empty store of each kind out, and how to make its next reads come from the disk."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from memory import BlockStore, FileTier, HostTier, RedisLink, StreamMake
from memory.tiers.redis.redis_keys import STREAMS
from memory.tiers.redis.redis_stream import RedisStream
from memory.tiers.redis.redis_tier import RedisTier

_SEGMENT_BYTES = 16 << 20
_BUFFER_BYTES = 256 << 20
_HOST_BYTES = 1 << 40


@dataclass(frozen=True)
class TierStore:
    """`make_cold` empties the page cache of what the store has written; None: it has no files."""

    name: str
    store: BlockStore
    make_cold: Callable[[], None] | None = None


@contextmanager
def host_store(make: StreamMake) -> Iterator[TierStore]:
    yield TierStore("host", HostTier(_HOST_BYTES))


@contextmanager
def file_store(make: StreamMake, folder: Path | None) -> Iterator[TierStore]:
    """In a folder of its own under `folder`, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tier-speed-", dir=folder) as own:
        store = FileTier(Path(own), _SEGMENT_BYTES)
        yield TierStore("file", store, lambda: _drop_pages(Path(own)))


@contextmanager
def redis_store(make: StreamMake, url: str) -> Iterator[TierStore]:
    """As a stream of its own, which is gone afterwards."""
    link = RedisLink(url)
    stream = RedisStream(link, f"tier-speed-{os.getpid()}", make)
    try:
        yield TierStore("redis", RedisTier(link, stream, None, _BUFFER_BYTES))
    finally:
        keys, client = stream.keys, link.client
        stream.close()
        for key in client.scan_iter(match=f"{keys.blocks}*", count=1000):
            client.unlink(key)
        client.unlink(keys.meta, keys.table, keys.log, keys.lease)
        client.srem(STREAMS, keys.stream_id)
        link.close()


def _drop_pages(folder: Path) -> None:
    """Written pages go to the disk first: dirty ones would stay."""
    for path in folder.iterdir():
        file = os.open(path, os.O_RDWR)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
