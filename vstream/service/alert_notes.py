"""AlertNotes: writes alerts and their firings into the notes of their streams, as soon as possible.

An alert stands in the notes of all its streams, as any of them may go on without the others; its
firings on a stream stand in that stream's note alone.
"""

import time
from math import inf

import structlog

from memory import KVMemoryError
from memory.locks import Rank, ranked_lock
from vstream.errors import UnknownStreamError
from vstream.service.alert_book import AlertBook
from vstream.service.streams import Streams

_log = structlog.get_logger()
_RETRY_S = 5.0
_SPACING_S = 1.0
"""Firings are noted beside a stream at most this often: a note waits for the disk."""


class AlertNotes:
    """Safe from any thread, but `go_on` belongs to the thread that judges."""

    def __init__(self, streams: Streams, book: AlertBook) -> None:
        self._streams = streams
        self._book = book
        self._due: dict[str, float] = {}
        """Streams with something to write, and from when on."""
        self._written_at: dict[str, float] = {}
        self._lock = ranked_lock(Rank.ALERT_NOTES)
        """What was gathered later is written later."""

    def write(self, stream_id: str) -> None:
        """Write at once; without a store, try again until it is there."""
        with self._lock:
            self._write(stream_id)

    def write_soon(self, stream_id: str) -> None:
        """Let `go_on` write, but not right after the last time."""
        due = self._written_at.get(stream_id, -inf) + _SPACING_S
        self._due.setdefault(stream_id, due)

    def go_on(self) -> None:
        now = time.monotonic()
        for stream_id in [name for name, at in list(self._due.items()) if at <= now]:
            self.write(stream_id)

    def close(self) -> None:
        for stream_id in list(self._due):
            self.write(stream_id)

    def _write(self, stream_id: str) -> None:
        self._due.pop(stream_id, None)
        self._written_at[stream_id] = time.monotonic()
        alerts, firings = self._book.noted_beside(stream_id), {}
        for one in self._book.all():
            if (noted := one.noted_of(stream_id)) is not None:
                firings[one.id] = noted
        try:
            self._streams.get(stream_id).remember(alerts=alerts, firings=firings)
        except UnknownStreamError:
            self._written_at.pop(stream_id, None)  # its alerts went with it
        except KVMemoryError as error:
            _log.warning("alerts not kept yet", stream=stream_id, reason=str(error))
            self._due[stream_id] = time.monotonic() + _RETRY_S
