"""RedisLines: keeps lines in a Redis Stream, which numbers them."""

from collections.abc import Callable, Sequence

from redis.exceptions import WatchError

from memory.line_log import LineLog
from memory.tiers.redis.redis_link import RedisLink

_LINE = b"line"
_BLOCK_MS = 1000
_BATCH = 256


class RedisLines(LineLog):
    """Keeps the newest `most` lines. Several processes may append and follow."""

    is_shared = True

    def __init__(self, link: RedisLink, key: str, most: int) -> None:
        """Closes `link` with itself."""
        self._link = link
        self._key = key
        self._most = most

    def read(self) -> list[str]:
        with self._link.store_errors():
            return [_text(fields) for _, fields in self._link.reads.xrange(self._key)]

    def append(self, lines: Sequence[str]) -> None:
        with self._link.store_errors(), self._link.client.pipeline(transaction=True) as pipeline:
            for line in lines:
                pipeline.xadd(self._key, {_LINE: line}, maxlen=self._most, approximate=False)
            pipeline.execute()

    def rewrite(self, change: Callable[[str], str | None]) -> None:
        """See LineLog. Each line keeps its number."""
        with self._link.store_errors(), self._link.client.pipeline(transaction=True) as pipeline:
            while True:
                pipeline.watch(self._key)
                found = [(number, _text(fields)) for number, fields in pipeline.xrange(self._key)]
                left = [(number, change(line)) for number, line in found]
                pipeline.multi()
                pipeline.delete(self._key)
                for number, line in left:
                    if line is not None:
                        pipeline.xadd(self._key, {_LINE: line}, id=number)
                try:
                    pipeline.execute()
                except WatchError:
                    continue  # another process has appended meanwhile
                return

    def after(self, number: str) -> list[tuple[str, str]]:
        """Wait up to a second for lines after that number; return them with their numbers, each
        MILLISECONDS-COUNT.
        """
        with self._link.store_errors():
            found = self._link.client.xread({self._key: number}, count=_BATCH, block=_BLOCK_MS)
        entries = [entry for _, entries in found for entry in entries]
        return [(at.decode(), _text(fields)) for at, fields in entries]

    def close(self) -> None:
        self._link.close()


def _text(fields: dict[bytes, bytes]) -> str:
    return fields[_LINE].decode("utf-8", "replace")
