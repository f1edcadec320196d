"""EventLog: events of all streams in, each reader's own replay and follow-up of them out.

The newest events stand in a ring. A reader holds no queue, only its place in the ring, so a slow
one costs nothing and holds nobody up: when the ring has moved past its place it is told so, by an
event of kind `gap` that counts what it missed, and goes on with the oldest event there is.

Ids rise strictly, over a restart too: the millisecond of the event times 4096, plus a counter. They
stay below 2**53, which JavaScript counts exactly, until the year 2039. What was published before a
restart is gone: who asks for it gets a gap.
"""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from memory.locks import Rank, ranked_lock

_IDS_PER_MS = 4096
_BATCH = 64  # events that a reader takes at a time


class EventKind(StrEnum):
    """What can happen."""

    STREAM_CREATED = "stream.created"
    STREAM_STATE = "stream.state"
    STREAM_DELETED = "stream.deleted"
    ALERT_FIRED = "alert.fired"
    ALERT_DESCRIBED = "alert.described"
    """What the model says of a firing; the same fields once more."""
    ALERT_ENDED = "alert.ended"
    RECAP_MADE = "recap.made"
    ANSWER_DONE = "answer.done"
    RESPONSE_DONE = "response.done"
    MEMORY_FORGOTTEN = "memory.forgotten"
    GAP = "gap"
    """Not published but made for one reader: it missed `data["missed"]` events, None if unknown."""


@dataclass(frozen=True)
class Event:
    """One thing that happened, to one stream or to none in particular."""

    id: int
    kind: EventKind
    stream_id: str | None
    at: float
    """Seconds since the epoch."""
    data: dict[str, Any]
    owner: str | None = None
    """Whose business alone it is; None: of all who may see the stream."""
    is_forgotten: bool = False
    """It keeps its place, and nobody sees it."""


@dataclass(eq=False)
class _Reader:
    """What wakes one reader. `is_woken` spares its loop a call for each of many events."""

    loop: asyncio.AbstractEventLoop
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_woken: bool = False


class EventLog:
    """The newest `max_events` events. Publish from any thread, follow from any event loop."""

    def __init__(self, max_events: int = 4096, clock: Callable[[], float] = time.time) -> None:
        """Begin empty. `clock` gives seconds since the epoch."""
        self._clock = clock
        self._lock = ranked_lock(Rank.EVENTS)
        self._ring: deque[Event] = deque(maxlen=max_events)
        self._num_published = 0
        self._last_id = int(clock() * 1000) * _IDS_PER_MS
        self._complete_after = self._last_id  # all with a higher id are in the ring
        self._readers: set[_Reader] = set()
        self._is_closed = False
        self.num_missed = 0
        """Events that readers were too slow for, all readers taken together."""

    @property
    def num_readers(self) -> int:
        """How many follow now."""
        return len(self._readers)

    def publish(
        self, kind: EventKind, stream_id: str | None, data: dict[str, Any], owner: str | None = None
    ) -> Event:
        """Add an event and wake the readers. Never waits for any of them."""
        with self._lock:
            at = self._clock()
            event = Event(self._next_id(at), kind, stream_id, at, data, owner)
            if len(self._ring) == self._ring.maxlen:
                self._complete_after = self._ring[0].id
            self._ring.append(event)
            self._num_published += 1
            self._wake_readers()
        return event

    def new_id(self) -> int:
        """One that no event has: higher than all so far, and lower than all to come."""
        with self._lock:
            return self._next_id(self._clock())

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Who reads from now on sees no event of that stream about a moment of [from_s, to_s], and
        of one about a later moment not what was said of these.
        """
        with self._lock:
            for place, event in enumerate(self._ring):
                at_s = event.data.get("at_s") if event.stream_id == stream_id else None
                if at_s is None or at_s < from_s:
                    continue
                if at_s <= to_s:
                    self._ring[place] = replace(event, data={}, is_forgotten=True)
                elif event.data.get("sentence") is not None and event.data["from_s"] <= to_s:
                    event.data["sentence"] = None

    def follow(self, last_id: int | None) -> AsyncIterator[Event]:
        """Every event after `last_id`, or from now on, without end until `close`.

        What comes after this call is not missed, even if the first event is asked for later.
        """
        with self._lock:
            if last_id is None:
                return self._follow(self._num_published, None)
            place, is_gap = self._place_after(last_id)
            gap = self._gap(None) if is_gap else None
        return self._follow(place, gap)

    def close(self) -> None:
        """No more events: readers get what is there, and their iterations end."""
        with self._lock:
            self._is_closed = True
            self._wake_readers()

    async def _follow(self, place: int, gap: Event | None) -> AsyncIterator[Event]:
        reader = _Reader(asyncio.get_running_loop())
        with self._lock:
            self._readers.add(reader)
        try:
            if gap is not None:
                yield gap
            while True:
                events, place, is_last = self._next_events(reader, place)
                for event in events:
                    if not event.is_forgotten:
                        yield event
                if is_last:
                    return
                if not events:
                    await reader.news.wait()
        finally:  # without the lock: the thread that collects this garbage may hold it
            self._readers.discard(reader)

    def _next_events(self, reader: _Reader, place: int) -> tuple[list[Event], int, bool]:
        """What is there from `place` on, the place after it, and whether no more will come."""
        with self._lock:
            reader.news.clear()
            reader.is_woken = False
            oldest = self._oldest_place()
            missed = max(0, oldest - place)
            place += missed
            events = list(islice(self._ring, place - oldest, place - oldest + _BATCH))
            place += len(events)
            if missed:
                self.num_missed += missed
                events.insert(0, self._gap(missed))
            return events, place, self._is_closed and place == self._num_published

    def _next_id(self, at: float) -> int:
        self._last_id = max(self._last_id + 1, int(at * 1000) * _IDS_PER_MS)
        return self._last_id

    def _wake_readers(self) -> None:
        for reader in list(self._readers):
            if reader.is_woken:
                continue
            try:
                reader.loop.call_soon_threadsafe(reader.news.set)
                reader.is_woken = True
            except RuntimeError:  # its loop was closed under it
                self._readers.discard(reader)

    def _oldest_place(self) -> int:
        """Places count all events that were ever published; this is that of the ring's first."""
        return self._num_published - len(self._ring)

    def _place_after(self, last_id: int) -> tuple[int, bool]:
        oldest = self._oldest_place()
        if last_id > self._last_id:  # of a former run whose clock was ahead
            return oldest, True
        place = oldest + bisect_right(self._ring, last_id, key=lambda event: event.id)
        return place, last_id < self._complete_after

    def _gap(self, missed: int | None) -> Event:
        """Its id is that of the last event that is gone: to ask again after it repeats nothing."""
        return Event(self._complete_after, EventKind.GAP, None, self._clock(), {"missed": missed})
