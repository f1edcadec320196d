"""RedisDialogue: stores the newest questions and answers of a named dialogue.

A dialogue may mention any moment of its stream, so forgetting any part of the stream deletes it.
"""

import json
import time

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

    def turns(self) -> list[tuple[str, str]]:
        """Return each question with its answer, oldest first."""
        with self._link.store_errors():
            found = self._link.reads.lrange(self._keys.dialogue(self._name), 0, -1)
        return [(turn["question"], turn["answer"]) for turn in map(json.loads, found)]

    def add(self, question: str, answer: str) -> None:
        key, names, now = self._keys.dialogue(self._name), self._keys.dialogues, time.time()
        with self._link.store_errors(), self._link.client.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, json.dumps({"question": question, "answer": answer}))
            pipeline.ltrim(key, -TURNS, -1)
            pipeline.expire(key, KEPT_S)
            pipeline.zadd(names, {self._name: now})
            pipeline.zremrangebyscore(names, "-inf", now - KEPT_S)
            pipeline.expire(names, KEPT_S)
            pipeline.execute()

    def close(self) -> None:
        self._link.close()


def drop_dialogues(link: RedisLink, keys: RedisKeys) -> None:
    """Delete all dialogues about a stream. Raises StoreError."""
    with link.store_errors():
        names = link.reads.zrange(keys.dialogues, 0, -1)
        link.client.delete(keys.dialogues, *(keys.dialogue(name.decode()) for name in names))
