"""Newest: values by key in, those that were used last out."""

from collections import OrderedDict
from typing import Generic, TypeVar

from memory.locks import Rank, ranked_lock

Key = TypeVar("Key")
Value = TypeVar("Value")


class Newest(Generic[Key, Value]):
    """Keeps at most so many. May be used from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = ranked_lock(Rank.KNOWN_SCHEMAS)
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Key, value: Value) -> None:
        """The one that has not been used for longest goes for it."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
