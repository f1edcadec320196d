"""KeptEvents: takes events from any thread, keeps them beside the streams in a thread of its own,
and reads them again after a restart.
"""

import threading
from collections import deque
from itertools import islice

import structlog

from memory import LineLog, StoreError
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.service.event import Event
from vstream.service.stream_lines import StreamLines

_log = structlog.get_logger()
_RETRY_S = 5.0
_MOST_WAITING = 4096
"""While the store is away; beyond that the oldest are not kept."""


class KeptEvents(Closing):
    """`past` are the events that were kept before, oldest first."""

    def __init__(self, lines: LineLog) -> None:
        """Closes `lines` with itself, also if it raises StoreError."""
        try:
            self._lines = StreamLines(lines, Event.of)
            self.past = sorted(self._lines.all(), key=lambda event: event.id)
        except StoreError:
            lines.close()
            raise
        self._waiting: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._lock = ranked_lock(Rank.KEPT_EVENTS)
        """For taking from what waits; adding to it needs no lock."""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_on, name="events", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue an event to be kept. Never waits."""
        self._waiting.append(event)
        self._wake.set()

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Apply `Event.without` to what is kept and what waits; see `StreamLines.forget`."""
        with self._lock:
            for event in self._taken():
                left = event.without(stream_id, from_s, to_s)
                if left is not None:
                    self._waiting.append(left)
            self._lines.forget(stream_id, from_s, to_s)

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._write()
        self._lines.close()

    def _keep_on(self) -> None:
        is_logged = False
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            error = self._write()
            if error is not None:
                if not is_logged:
                    _log.warning("events not kept yet", reason=str(error))
                self._stop.wait(_RETRY_S)
                self._wake.set()
            is_logged = error is not None

    def _write(self) -> StoreError | None:
        """Write what waits; if that fails, it goes on waiting."""
        with self._lock:
            events = self._taken()
            try:
                if events:
                    self._lines.add(events)
            except StoreError as error:
                room = _MOST_WAITING - len(self._waiting)
                self._waiting.extendleft(islice(reversed(events), room))
                return error
        return None

    def _taken(self) -> list[Event]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]
