"""RedisLines: lines in a list on a Redis or Valkey server."""

from collections.abc import Callable, Sequence

from redis.exceptions import WatchError

from memory.line_log import LineLog
from memory.tiers.redis.redis_link import RedisLink


class RedisLines(LineLog):
    """The newest `most` lines. Several processes may append to them."""

    def __init__(self, link: RedisLink, key: str, most: int) -> None:
        """Closes `link` with itself."""
        self._link = link
        self._key = key
        self._most = most

    def read(self) -> list[str]:
        with self._link.told():
            found = self._link.reads.lrange(self._key, 0, -1)
        return [line.decode("utf-8", "replace") for line in found]

    def append(self, lines: Sequence[str]) -> None:
        with self._link.told(), self._link.client.pipeline(transaction=True) as pipeline:
            pipeline.rpush(self._key, *lines)
            pipeline.ltrim(self._key, -self._most, -1)
            pipeline.execute()

    def rewrite(self, change: Callable[[str], str | None]) -> None:
        with self._link.told(), self._link.client.pipeline(transaction=True) as pipeline:
            while True:
                pipeline.watch(self._key)
                lines = [
                    line.decode("utf-8", "replace") for line in pipeline.lrange(self._key, 0, -1)
                ]
                left = [text for line in lines if (text := change(line)) is not None]
                pipeline.multi()
                pipeline.delete(self._key)
                if left:
                    pipeline.rpush(self._key, *left)
                try:
                    pipeline.execute()
                except WatchError:
                    continue  # another process has appended meanwhile
                return

    def close(self) -> None:
        self._link.close()
