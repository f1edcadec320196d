"""RedisDialogue: stores the newest questions and answers of a named dialogue.

A dialogue may mention any moment of its stream, so forgetting any part of the stream deletes it. An
answer that is under way then is not added: it may have seen what is forgotten.
"""

import json
import secrets
import time
from contextlib import suppress
from typing import Any

from redis import WatchError

from memory.closing import Closing
from memory.tiers.redis.redis_keys import RedisKeys
from memory.tiers.redis.redis_link import RedisLink

TURNS = 8
"""How many turns are kept."""
KEPT_S = 86_400
"""How long they are kept after the newest turn, in seconds."""


class RedisDialogue(Closing):
    """The turns of one dialogue about one stream. All methods raise StoreError."""

    def __init__(self, link: RedisLink, keys: RedisKeys, name: str) -> None:
        """Owns `link` and closes it."""
        self._link = link
        self._keys, self._name = keys, name
        self._mark: bytes | None = None
        """Stands in the store until something of the stream is forgotten."""

    def turns(self) -> list[tuple[str, str]]:
        """Return each question with its answer, oldest first. Call it before you look at the
        stream for the next answer.
        """
        mark = self._keys.dialogue_mark(self._name)
        with self._link.store_errors(), self._link.client.pipeline(transaction=True) as pipeline:
            self._list(pipeline)
            pipeline.set(mark, secrets.token_hex(8), nx=True)
            pipeline.expire(mark, KEPT_S)
            pipeline.get(mark)
            pipeline.lrange(self._keys.dialogue(self._name), 0, -1)
            *_, self._mark, found = pipeline.execute()
        return [(turn["question"], turn["answer"]) for turn in map(json.loads, found)]

    def add(self, question: str, answer: str) -> None:
        """Add the next turn, unless something of the stream was forgotten since `turns`."""
        key, mark = self._keys.dialogue(self._name), self._keys.dialogue_mark(self._name)
        with self._link.store_errors(), self._link.client.pipeline(transaction=True) as pipeline:
            pipeline.watch(mark)
            if pipeline.get(mark) != self._mark:
                return
            pipeline.multi()
            pipeline.rpush(key, json.dumps({"question": question, "answer": answer}))
            pipeline.ltrim(key, -TURNS, -1)
            pipeline.expire(key, KEPT_S)
            self._list(pipeline)
            with suppress(WatchError):
                pipeline.execute()

    def _list(self, pipeline: Any) -> None:
        """Have it found when the stream's dialogues are dropped."""
        names, now = self._keys.dialogues, time.time()
        pipeline.zadd(names, {self._name: now})
        pipeline.zremrangebyscore(names, "-inf", now - KEPT_S)
        pipeline.expire(names, KEPT_S)

    def close(self) -> None:
        self._link.close()


def drop_dialogues(link: RedisLink, keys: RedisKeys) -> None:
    """Delete all dialogues about a stream. Raises StoreError."""
    with link.store_errors(), link.client.pipeline(transaction=True) as pipeline:
        names = [name.decode() for name in link.reads.zrange(keys.dialogues, 0, -1)]
        if names:  # one that begins meanwhile stays listed
            pipeline.zrem(keys.dialogues, *names)
            pipeline.delete(*map(keys.dialogue, names), *map(keys.dialogue_mark, names))
            pipeline.execute()
