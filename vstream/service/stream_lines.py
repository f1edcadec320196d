"""StreamLines: what is told of moments of streams in, lines that outlive the process out, without
what is forgotten.
"""

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
"""So often lines are looked through to which others add."""


class OfMoments(Protocol):
    """What one line says."""

    @property
    def stream_id(self) -> str | None: ...

    @property
    def oldest_s(self) -> float | None:
        """The oldest moment of the stream that it is about; None if it is about none."""

    @property
    def line(self) -> str:
        """JSON, as `of` reads it."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError, ValueError for what was no line of it."""

    def without(self, stream_id: str, from_s: float, to_s: float) -> Self | None:
        """What is left of it once [from_s, to_s] of that stream is forgotten."""


Told = TypeVar("Told", bound=OfMoments)


class StreamLines(Closing, Generic[Told]):
    """Of any thread."""

    def __init__(self, lines: LineLog, read: Callable[[Mapping[str, Any]], Told]) -> None:
        """Go on with `lines`, each of which `read` understands. Raises StoreError."""
        self._lines = lines
        self._read = read
        self._lock = ranked_lock(Rank.LINES)
        self._oldest: dict[str, float] = {}
        """By stream, the oldest moment that a line is about."""
        self._counted_at = time.monotonic()
        self._owed: list[tuple[str, float, float]] = []
        """Stretches that are to be forgotten, once that can be written."""
        with self._lock:
            self._count_all()

    def all(self) -> list[Told]:
        """Oldest first. Raises StoreError."""
        with self._lock:
            return list(self._understood(self._lines.read()))

    def add(self, told: Sequence[Told]) -> None:
        """Raises StoreError."""
        with self._lock:
            self._settle()
            self._lines.append([one.line for one in told])
            for one in told:
                self._count(one)

    def drop(self, line_id: str) -> None:
        """The one with that id. Raises StoreError."""
        with self._lock:
            self._settle()
            self._lines.rewrite(lambda line: None if _id_of(line) == line_id else line)

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """What was told of [from_s, to_s], at once; where that cannot be written now, with what is
        added or forgotten next.
        """
        with self._lock:
            with _told_later(stream_id):
                if self._lines.is_shared and time.monotonic() > self._counted_at + _COUNT_S:
                    self._count_all()
            if from_s == -inf and self._oldest.get(stream_id, inf) > to_s:
                return  # nothing has left what is retained
            self._owed = [one for one in self._owed if not _holds((from_s, to_s), stream_id, one)]
            self._owed.append((stream_id, from_s, to_s))
            with _told_later(stream_id):
                self._settle()

    def close(self) -> None:
        with self._lock:
            self._lines.close()

    def _settle(self) -> None:
        """Forget what is to be forgotten. With the lock held. Raises StoreError."""
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
        for told in self._understood([line]):
            if (left := told.without(stream_id, from_s, to_s)) is not None:
                self._count(left)
                return left.line
        return None

    def _count_all(self) -> None:
        """With the lock held. Raises StoreError."""
        self._counted_at = time.monotonic()
        for one in self._understood(self._lines.read()):
            self._count(one)

    def _count(self, told: Told) -> None:
        if told.stream_id is not None and told.oldest_s is not None:
            oldest = self._oldest.get(told.stream_id, inf)
            self._oldest[told.stream_id] = min(oldest, told.oldest_s)

    def _understood(self, lines: Iterable[str]) -> Iterator[Told]:
        """Of a line that was cut short nobody knows."""
        for line in lines:
            try:
                yield self._read(json.loads(line))
            except (KeyError, TypeError, ValueError):
                continue


@contextmanager
def _told_later(stream_id: str) -> Iterator[None]:
    """What is owed stays so where the store is away."""
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
