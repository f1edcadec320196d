"""RedisFollower: the blocks of a stream in Redis that another process writes, and what changed."""

from memory.block_store import Changes, FollowedSource
from memory.errors import StoreError, StreamReplacedError
from memory.tiers.redis.redis_blocks import RedisBlocks
from memory.tiers.redis.redis_keys import RedisKeys
from memory.tiers.redis.redis_link import RedisLink


class RedisFollower(RedisBlocks, FollowedSource):
    """It writes nothing."""

    def __init__(self, link: RedisLink, keys: RedisKeys) -> None:
        super().__init__(link, keys)
        self._version = 0
        self._fence: bytes | None = None

    def changes(self) -> Changes:
        """Raises StoreError if the stream is gone, StreamReplacedError if it was taken over."""
        with self._link.told():
            version, next_id, fence = self._link.reads.hmget(
                self._keys.meta, "version", "next_id", "fence"
            )
        if fence is None:
            raise StoreError(f"{self._link.name}: stream {self._keys.stream_id} is gone")
        if self._fence not in (None, fence):
            raise StreamReplacedError(
                f"{self._link.name}: stream {self._keys.stream_id} has a new writer; open it again"
            )
        self._fence = fence
        version, next_id = int(version or 0), int(next_id or 0)
        if version == self._version:
            return Changes([], [])
        touched = self._touched_since(version)
        entries = self._load(next_id) if touched is None else self._entries(touched)
        lost = set(self._placed if touched is None else touched) - set(entries)
        gone = [block_id for block_id in lost if block_id in self._placed]
        for block_id in gone:
            self._lose(block_id)
        heads = [self._place(block_id, entries[block_id]) for block_id in sorted(entries)]
        self._version = version
        self._next_id = max(self._next_id, next_id, *(head.block_id + 1 for head in heads))
        return Changes(heads, gone)

    def _touched_since(self, version: int) -> list[int] | None:
        """Ids that changed after the last look; None if the log does not reach back so far.

        What changes after `version` may be among them: the next look will find it again.
        """
        missing = version - self._version
        if not self._version or missing < 0:
            return None
        with self._link.told():
            found = self._link.reads.xrevrange(self._keys.log, count=missing + 64)
        logged = {int(fields[b"version"]): fields[b"ids"] for _, fields in found}
        wanted = range(self._version + 1, version + 1)
        if not all(number in logged for number in wanted):
            return None
        ids = [ids for number, ids in logged.items() if number > self._version]
        return sorted({int(block_id) for text in ids for block_id in text.split()})

    def _entries(self, block_ids: list[int]) -> dict[int, bytes]:
        with self._link.told():
            found = self._link.reads.hmget(self._keys.table, [str(i) for i in block_ids])
        return {i: entry for i, entry in zip(block_ids, found, strict=True) if entry is not None}
