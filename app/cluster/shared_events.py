"""SharedEvents: the events of all workers in, one Redis Stream; out of it what an ingress tells."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import structlog

from memory import LineLog, RedisLink, StoreError
from vstream.service.event import MOST, Event, EventKind
from vstream.service.event_log import IDS_PER_MS, EventLog

_KEY = "vstream:shared:events"
_log = structlog.get_logger()
_BLOCK_MS = 1000
_BATCH = 256
_RETRY_S = 1.0


class SharedEvents(LineLog):
    """The newest of all processes, numbered by the server as they come."""

    def __init__(self, store: str) -> None:
        """Raises StoreError."""
        self._link = RedisLink(store)

    def read(self) -> list[str]:
        return [line for _, line in self._entries()]

    def append(self, lines: Sequence[str]) -> None:
        with self._link.told(), self._link.client.pipeline(transaction=True) as pipeline:
            for line in lines:
                pipeline.xadd(_KEY, {"event": line}, maxlen=MOST, approximate=True)
            pipeline.execute()

    def rewrite(self, change: Callable[[str], str | None]) -> None:
        """An entry cannot be changed: one of which a part is to go, goes."""
        gone = [entry_id for entry_id, line in self._entries() if change(line) != line]
        if gone:
            with self._link.told():
                self._link.client.xdel(_KEY, *gone)

    def after(self, entry_id: str) -> list[tuple[str, Event]]:
        """Those behind an entry, once there are any; none after a second without."""
        with self._link.told():
            found = self._link.client.xread({_KEY: entry_id}, count=_BATCH, block=_BLOCK_MS)
        return [
            (at.decode(), _event(at.decode(), fields[b"event"]))
            for _, entries in found
            for at, fields in entries
        ]

    def close(self) -> None:
        self._link.close()

    def _entries(self) -> list[tuple[str, str]]:
        with self._link.told():
            found = self._link.reads.xrange(_KEY)
        return [(entry_id.decode(), fields[b"event"].decode()) for entry_id, fields in found]


def _event(entry_id: str, line: bytes) -> Event:
    """Under the server's number, which no other has."""
    ms, _, count = entry_id.partition("-")
    told: dict[str, Any] = json.loads(line)
    return replace(Event.of(told), id=int(ms) * IDS_PER_MS + int(count))


def follow(shared: SharedEvents, events: EventLog, stop: threading.Event) -> None:
    """Enter what all workers tell into `events`, until `stop`; what they forget is forgotten there
    as well.
    """
    last = "0"
    while not stop.is_set():
        try:
            found = shared.after(last)
        except StoreError as error:
            _log.warning("events are not heard", reason=str(error))
            stop.wait(_RETRY_S)
            continue
        for last, event in found:  # noqa: B007  where it stands
            events.enter(event)
            if event.kind is EventKind.MEMORY_FORGOTTEN:
                events.forget(str(event.stream_id), event.data["from_s"], event.data["to_s"])
            elif event.kind is EventKind.STREAM_DELETED and event.data["purged"]:
                events.forget(str(event.stream_id), -inf, inf)
