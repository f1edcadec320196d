"""follow: read the events that all workers keep, for an ingress to report."""

import json
import threading
from contextlib import closing
from dataclasses import replace
from math import inf

import structlog

from memory import RedisLines, StoreError, tier_of
from vstream.service.event import MOST, Event, EventKind
from vstream.service.event_log import IDS_PER_MS, EventLog

_log = structlog.get_logger()
_RETRY_S = 1.0


def follow(store: str, events: EventLog, stop: threading.Event) -> None:
    """Enter the events of all workers into `events` until `stop`, and forget what they forget."""
    lines, last = tier_of(store).lines("events", MOST), "0"
    assert isinstance(lines, RedisLines), "see app.py: workers share a store"
    with closing(lines):
        while not stop.is_set():
            try:
                found = lines.after(last)
            except StoreError as error:
                _log.warning("events cannot be read", reason=str(error))
                stop.wait(_RETRY_S)
                continue
            for last, line in found:
                _enter(_event(last, line), events)


def _event(number: str, line: str) -> Event:
    """Return the event with the store's number for it, which no other event has, as its id."""
    ms, _, count = number.partition("-")
    return replace(Event.of(json.loads(line)), id=int(ms) * IDS_PER_MS + int(count))


def _enter(event: Event, events: EventLog) -> None:
    events.enter(event)
    if event.kind is EventKind.MEMORY_FORGOTTEN:
        events.forget(str(event.stream_id), event.data["from_s"], event.data["to_s"])
    elif event.kind is EventKind.STREAM_DELETED and event.data["purged"]:
        events.forget(str(event.stream_id), -inf, inf)
