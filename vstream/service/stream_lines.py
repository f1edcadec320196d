"""StreamLines: keeps lines about moments of streams after the process, except what is forgotten."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, Generic, Protocol, Self, TypeVar

import structlog

from memory import LineLog, StoreError
from memory.closing import Closing
from memory.locks import Rank, ranked_lock

_log = structlog.get_logger()
_COUNT_S = 60.0
"""How often to look through lines that other processes add to."""


class OfMoments(Protocol):
    """The content of one line."""

    @property
    def stream_id(self) -> str | None: ...

    @property
    def oldest_s(self) -> float | None:
        """The oldest moment of the stream that it is about; None if it is about none."""

    @property
    def line(self) -> str:
        """JSON for `of` to read."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read a parsed `line`. Raises KeyError, TypeError, ValueError for anything else."""

    def without(self, stream_id: str, from_s: float, to_s: float) -> Self | None:
        """Return what is left of it once [from_s, to_s] of that stream is forgotten."""


Entry = TypeVar("Entry", bound=OfMoments)


class StreamLines(Closing, Generic[Entry]):
    """Safe from any thread."""

    def __init__(self, lines: LineLog, read: Callable[[Mapping[str, Any]], Entry]) -> None:
        """Continue `lines`; `read` turns each, parsed, into an entry. Raises StoreError."""
        self._lines = lines
        self._read = read
        self._lock = ranked_lock(Rank.LINES)
        self._oldest: dict[str, float] = {}
        """By stream, the oldest moment of any line."""
        self._counted_at = time.monotonic()
        self._owed: list[tuple[str, float, float]] = []
        """Stretches to forget, once that can be written."""
        with self._lock:
            self._count_all()

    def all(self) -> list[Entry]:
        """Return all entries, oldest first. Raises StoreError."""
        with self._lock:
            return list(self._understood(self._lines.read()))

    def add(self, entries: Sequence[Entry]) -> None:
        """Raises StoreError."""
        with self._lock:
            self._settle()
            self._lines.append([one.line for one in entries])
            for one in entries:
                self._count(one)

    def drop(self, line_id: str) -> None:
        """Delete the line with that id. Raises StoreError."""
        with self._lock:
            self._settle()
            self._lines.rewrite(lambda line: None if _id_of(line) == line_id else line)

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Forget [from_s, to_s] of a stream at once, or, if that cannot be written now, before the
        next change.
        """
        with self._lock:
            with _or_later(stream_id):
                if self._lines.is_shared and time.monotonic() > self._counted_at + _COUNT_S:
                    self._count_all()
            if from_s == -inf and self._oldest.get(stream_id, inf) > to_s:
                return  # nothing has left what is retained
            self._owed = [one for one in self._owed if not _holds((from_s, to_s), stream_id, one)]
            self._owed.append((stream_id, from_s, to_s))
            with _or_later(stream_id):
                self._settle()

    def close(self) -> None:
        with self._lock:
            self._lines.close()

    def _settle(self) -> None:
        """Forget the stretches that are owed. Call it with the lock held. Raises StoreError."""
        while self._owed:
            stream_id, from_s, to_s = self._owed[0]
            before = self._oldest.pop(stream_id, inf)
            try:
                self._lines.rewrite(partial(self._left, stream_id, from_s, to_s))
            except StoreError:
                self._oldest[stream_id] = before
                raise
            del self._owed[0]

    def _left(self, stream_id: str, from_s: float, to_s: float, line: str) -> str | None:
        for entry in self._understood([line]):
            if (left := entry.without(stream_id, from_s, to_s)) is not None:
                self._count(left)
                return left.line
        return None

    def _count_all(self) -> None:
        """Note the oldest moments of all lines. Call it with the lock held. Raises StoreError."""
        self._counted_at = time.monotonic()
        for one in self._understood(self._lines.read()):
            self._count(one)

    def _count(self, entry: Entry) -> None:
        if entry.stream_id is not None and entry.oldest_s is not None:
            oldest = self._oldest.get(entry.stream_id, inf)
            self._oldest[entry.stream_id] = min(oldest, entry.oldest_s)

    def _understood(self, lines: Iterable[str]) -> Iterator[Entry]:
        """Yield the entries of the lines; skip lines that were cut short."""
        for line in lines:
            try:
                yield self._read(json.loads(line))
            except (KeyError, TypeError, ValueError):
                continue


@contextmanager
def _or_later(stream_id: str) -> Iterator[None]:
    """Log a failure to forget; what is owed stays owed until the store is back."""
    try:
        yield
    except StoreError as error:
        _log.error("not forgotten yet", stream=stream_id, reason=str(error))


def _holds(stretch: tuple[float, float], stream_id: str, owed: tuple[str, float, float]) -> bool:
    of, from_s, to_s = owed
    return of == stream_id and stretch[0] <= from_s and to_s <= stretch[1]


def _id_of(line: str) -> object:
    try:
        return json.loads(line).get("id")
    except ValueError:
        return None
