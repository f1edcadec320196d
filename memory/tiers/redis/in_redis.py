"""InRedis: keeps streams on a Redis or Valkey server, `redis://HOST`."""

from collections.abc import Sequence
from contextlib import ExitStack, closing

from memory.block_info import Provenance
from memory.block_store import FollowedSource
from memory.config import MemoryConfig
from memory.errors import StoreError
from memory.stream_entry import StreamEntry
from memory.tiers.redis.redis_blocks import RedisFollower
from memory.tiers.redis.redis_dialogue import RedisDialogue
from memory.tiers.redis.redis_keys import STREAMS, RedisKeys, lines_key
from memory.tiers.redis.redis_lines import RedisLines
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.redis.redis_stream import (
    DESCRIPTION,
    RedisStream,
    description_of,
    redis_description,
)
from memory.tiers.redis.redis_tasks import RedisTasks
from memory.tiers.redis.redis_tier import RedisTier
from memory.tiers.redis.redis_worker import join_worker, living_writers
from memory.tiers.tier import FoundStream, StoredStream, StreamState, Tier


class InRedis(Tier):
    """Streams may be live in other processes of any machine."""

    name = "redis"
    lasts = True
    budget = "redis_bytes"

    def enter(self, stream_id: str, provenance: Provenance | None) -> RedisStream:
        link = RedisLink(self.store)
        with ExitStack() as opened:
            opened.callback(link.close)
            stream = RedisStream(link, join_worker(self.store), stream_id, provenance)
            opened.pop_all()
        return stream

    def blocks(self, entry: StreamEntry, config: MemoryConfig) -> RedisTier:
        assert isinstance(entry, RedisStream)
        return RedisTier(entry.link, entry, config.redis_bytes, config.buffer_bytes)

    def follow(self, stream_id: str) -> tuple[Provenance, FollowedSource]:
        with closing(RedisLink(self.store)) as link:
            described = redis_description(link, stream_id)
        if described is None:
            raise StoreError(f"{link.name}: there is no such stream: {stream_id}")
        return described[0], RedisFollower(RedisLink(self.store), RedisKeys(stream_id))

    def lines(self, name: str, most: int) -> RedisLines:
        return RedisLines(RedisLink(self.store), lines_key(name), most)

    def kept_lines(self, name: str, most: int) -> list[str]:
        with self.lines(name, most) as lines:
            return lines.read()

    def dialogue(self, stream_id: str, name: str) -> RedisDialogue:
        return RedisDialogue(RedisLink(self.store), RedisKeys(stream_id), name)

    def tasks(self, most: int, kept_s: float) -> RedisTasks:
        return RedisTasks(RedisLink(self.store), most, kept_s)

    def ids(self) -> list[str]:
        with closing(RedisLink(self.store)) as link:
            return _ids(link)

    def streams(self) -> list[StoredStream]:
        with closing(RedisLink(self.store)) as link:
            return [_stored(*seen) for seen in _seen(link, _ids(link))]

    def find(self, stream_id: str) -> FoundStream | None:
        with closing(RedisLink(self.store)) as link:
            (seen,) = _seen(link, [stream_id])
            return _found(link, *seen)

    def find_all(self) -> dict[str, FoundStream | StoreError]:
        found: dict[str, FoundStream | StoreError] = {}
        with closing(RedisLink(self.store)) as link:
            for seen in _seen(link, _ids(link)):
                try:
                    one: FoundStream | StoreError | None = _found(link, *seen)
                except StoreError as error:
                    one = error
                if one is not None:
                    found[seen[0]] = one
        return found

    def check(self) -> str:
        with closing(RedisLink(self.store)) as link:
            return f"{link.name}: {link.described()}"


_Seen = tuple[str, list[bytes | None], str | None]
"""A stream's id, the values of its _FIELDS, and its writer."""
_FIELDS = (*DESCRIPTION, "blocks", "bytes", "from_s", "to_s")


def _ids(link: RedisLink) -> list[str]:
    with link.store_errors():
        return sorted(stream_id.decode() for stream_id in link.reads.smembers(STREAMS))


def _seen(link: RedisLink, stream_ids: Sequence[str]) -> list[_Seen]:
    """Read all these streams in two round trips."""
    pipeline = link.reads.pipeline(transaction=False)
    for keys in map(RedisKeys, stream_ids):
        pipeline.hmget(keys.meta, _FIELDS)
        pipeline.get(keys.lease)
    with link.store_errors():
        values = pipeline.execute()
    return list(zip(stream_ids, values[::2], living_writers(link, values[1::2]), strict=True))


def _stored(stream_id: str, values: list[bytes | None], writer: str | None) -> StoredStream:
    counts = values[len(DESCRIPTION) :]
    blocks, num_bytes, from_s, to_s = (float(value or 0) for value in counts)
    tiers = {"redis": int(num_bytes)}
    return StoredStream(stream_id, _state(writer), int(blocks), from_s, to_s, tiers)


def _found(
    link: RedisLink, stream_id: str, values: list[bytes | None], writer: str | None
) -> FoundStream | None:
    described = description_of(link, stream_id, values[: len(DESCRIPTION)])
    return described and FoundStream(described[0], _state(writer), described[1], writer=writer)


def _state(writer: str | None) -> StreamState:
    return "stored" if writer is None else "live"
