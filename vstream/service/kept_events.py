"""KeptEvents: events in from any thread, kept beside the streams by one of its own, and read again
after a restart.
"""

import json
import threading
from collections import deque
from contextlib import suppress
from math import inf
from typing import Any

import structlog

from memory import LineLog, StoreError
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.service.event import Event

_log = structlog.get_logger()
_RETRY_S = 5.0
_MOST_WAITING = 4096
"""While the store is away; of more the oldest are not kept."""


class KeptEvents(Closing):
    """`past` are those that were kept, oldest first."""

    def __init__(self, lines: LineLog) -> None:
        """Raises StoreError."""
        self._lines = lines
        self.past = _events_in(lines.read())
        self._oldest: dict[str, float] = {}
        """By stream, how old the oldest moment is that an event is about."""
        for event in self.past:
            self._count(event)
        self._waiting: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._lock = ranked_lock(Rank.EVENT_LINES)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_on, name="events", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Never waits."""
        self._waiting.append(event)
        self._wake.set()

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """As `Event.without`. Returns once it is so; where the store is away, that is later."""
        with self._lock:
            if from_s == -inf and self._oldest.get(stream_id, inf) > to_s:
                return
            try:
                self._write()
                self._oldest.pop(stream_id, None)
                self._lines.rewrite(lambda line: self._left(line, stream_id, from_s, to_s))
            except StoreError as error:
                _log.error("events not forgotten", stream=stream_id, reason=str(error))

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        with suppress(StoreError):
            self._write()
        self._lines.close()

    def _keep_on(self) -> None:
        is_told = False
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            try:
                with self._lock:
                    self._write()
                is_told = False
            except StoreError as error:
                if not is_told:
                    _log.warning("events not kept yet", reason=str(error))
                is_told = True
                self._stop.wait(_RETRY_S)
                self._wake.set()

    def _write(self) -> None:
        """What waits. With the lock held. Raises StoreError, and it goes on waiting."""
        events = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not events:
            return
        try:
            self._lines.append([event.line for event in events])
        except StoreError:
            self._waiting.extendleft(reversed(events))
            raise
        for event in events:
            self._count(event)

    def _count(self, event: Event) -> None:
        about_s = event.about_s
        if event.stream_id is not None and about_s is not None:
            oldest = self._oldest.get(event.stream_id, inf)
            self._oldest[event.stream_id] = min(oldest, about_s)

    def _left(self, line: str, stream_id: str, from_s: float, to_s: float) -> str | None:
        for event in _events_in([line]):
            left = event.without(stream_id, from_s, to_s)
            if left.is_forgotten:
                return None
            if left.stream_id == stream_id:
                self._count(left)
            return left.line
        return None


def _events_in(lines: list[str]) -> list[Event]:
    """Those that are understood: of a line that was cut short nobody knows."""
    events = []
    for line in lines:
        try:
            told: dict[str, Any] = json.loads(line)
            events.append(Event.of(told))
        except (KeyError, TypeError, ValueError):
            continue
    return sorted(events, key=lambda event: event.id)
