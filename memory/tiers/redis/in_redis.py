"""InRedis: streams on a Redis or Valkey server, `redis://HOST`."""

from contextlib import ExitStack, closing
from typing import Any

from memory.block_store import FollowedSource
from memory.config import MemoryConfig
from memory.errors import StoreError
from memory.provenance import Provenance
from memory.stream_entry import StreamEntry
from memory.tiers.redis.redis_blocks import RedisFollower
from memory.tiers.redis.redis_dialogue import RedisDialogue
from memory.tiers.redis.redis_keys import STREAMS, RedisKeys, lines_key
from memory.tiers.redis.redis_lines import RedisLines
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.redis.redis_stream import RedisStream, redis_description
from memory.tiers.redis.redis_tier import RedisTier
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
            stream = RedisStream(link, stream_id, provenance)
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

    def dialogue(self, stream_id: str, name: str) -> RedisDialogue:
        return RedisDialogue(RedisLink(self.store), RedisKeys(stream_id), name)

    def ids(self) -> list[str]:
        with closing(RedisLink(self.store)) as link, link.told():
            return sorted(stream_id.decode() for stream_id in link.client.smembers(STREAMS))

    def streams(self) -> list[StoredStream]:
        with closing(RedisLink(self.store)) as link, link.told():
            return [_described(link.client, RedisKeys(stream_id)) for stream_id in self.ids()]

    def find(self, stream_id: str) -> FoundStream | None:
        with closing(RedisLink(self.store)) as link, link.told():
            described = redis_description(link, stream_id)
            state = _state(link.client, RedisKeys(stream_id))
        return described and FoundStream(described[0], state, described[1])

    def check(self) -> str:
        with closing(RedisLink(self.store)) as link:
            return f"{link.name}: {link.described()}"


def _described(client: Any, keys: RedisKeys) -> StoredStream:
    names = ("blocks", "bytes", "from_s", "to_s")
    found = client.hmget(keys.meta, *names)
    blocks, num_bytes, from_s, to_s = (float(value or 0) for value in found)
    tiers = {"redis": int(num_bytes)}
    return StoredStream(keys.stream_id, _state(client, keys), int(blocks), from_s, to_s, tiers)


def _state(client: Any, keys: RedisKeys) -> StreamState:
    return "live" if client.exists(keys.lease) else "stored"
