"""EventLog: keeps the newest events of all streams; each reader replays and follows them alone.

The newest events stand in a ring. A reader holds no queue, only its place in the ring, so a slow
one costs nothing and holds nobody up: when the ring has moved past its place, it gets an event of
kind `gap` that counts what it missed, and goes on with the oldest event there is.

Ids rise strictly, over a restart too: the millisecond of the event times 4096, plus a counter. They
stay below 2**53, up to which JavaScript counts exactly, until the year 2039. Events that are
everybody's business outlive the process where they are kept; asking for older ones gives a gap.
"""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Container
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from memory.locks import Rank, ranked_lock
from vstream.service.event import MOST, Event, EventKind
from vstream.service.kept_events import KeptEvents

IDS_PER_MS = 4096
_BATCH = 64  # events that a reader takes at a time


def id_at(at: float) -> int:
    """Return the lowest id of an event at that time, in seconds since the epoch."""
    return int(at * 1000) * IDS_PER_MS


@dataclass(eq=False)
class _Reader:
    """What wakes one reader. `is_woken` saves its loop a call for each of many events."""

    loop: asyncio.AbstractEventLoop
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_woken: bool = False


class EventLog:
    """The newest `max_events` events. Publish from any thread, follow from any event loop."""

    def __init__(self, max_events: int = MOST, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch."""
        self._clock = clock
        self._kept: KeptEvents | None = None
        self._keeps_owned = False
        self._lock = ranked_lock(Rank.EVENTS)
        self._ring: deque[Event] = deque(maxlen=max_events)
        self._num_published = 0
        self._last_id = id_at(clock())
        self._complete_after = self._last_id
        """All events with a higher id are in the ring."""
        self._readers: set[_Reader] = set()
        self._is_closed = False
        self.num_missed = 0
        """Events that readers were too slow for, all readers together."""

    @property
    def is_kept(self) -> bool:
        """Whether events outlive the process."""
        return self._kept is not None

    def keep(self, kept: KeptEvents, *, owned: bool = False) -> None:
        """Continue after the events in `kept`. Call it before the first event. With `owned`, events
        that are one caller's business are kept as well.
        """
        with self._lock:
            self._kept, self._keeps_owned = kept, owned
            if kept.past:
                self._ring.extend(kept.past)
                self._last_id = max(self._last_id, kept.past[-1].id)
                self._complete_after = self._ring[0].id

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
            self._enter(event)
            if self._kept is not None and (owner is None or self._keeps_owned):
                self._kept.put(event)
        return event

    def enter(self, event: Event) -> None:
        """Add an event of another process, which keeps it; its id must be the highest so far."""
        with self._lock:
            self._last_id = event.id
            if not self._ring:
                self._complete_after = event.id
            self._enter(event)

    def new_id(self) -> int:
        """Return an id that no event has: higher than all so far, and lower than all to come."""
        with self._lock:
            return self._next_id(self._clock())

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Leave of each event, for all who read from now on, what `Event.without` leaves."""
        self._change(lambda event: event.without(stream_id, from_s, to_s))
        if self._kept is not None:
            self._kept.forget(stream_id, from_s, to_s)

    def leave_to_others(self, watched: Container[str | None]) -> None:
        """Hide moments of streams that are not `watched` here: another service on the same store
        may watch those, and this one does not hear what that one forgets.
        """
        self._change(
            lambda event: event if event.oldest_s is None or event.stream_id in watched else None
        )

    def follow(self, last_id: int | None) -> AsyncIterator[Event]:
        """Yield every event after `last_id`, or from now on, until `close`. What comes after this
        call is not missed, even if the first event is read later.
        """
        with self._lock:
            if last_id is None:
                return self._follow(self._num_published, None)
            place, is_gap = self._place_after(last_id)
            gap = self._gap(None) if is_gap else None
        return self._follow(place, gap)

    def close(self) -> None:
        """Take no more events: readers get what is there, and their iterations end."""
        with self._lock:
            self._is_closed = True
            self._wake_readers()

    def let_go(self) -> None:
        """Close what keeps the events. Call it after the last event."""
        if self._kept is not None:
            self._kept.close()

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
        """Return what is there from `place` on, the place after it, and whether that is all."""
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

    def _change(self, change: Callable[[Event], Event | None]) -> None:
        """Replace each event in the ring by what `change` leaves of it."""
        with self._lock:
            for place, event in enumerate(self._ring):
                left = change(event)
                self._ring[place] = left or replace(event, data={}, is_forgotten=True)

    def _enter(self, event: Event) -> None:
        if len(self._ring) == self._ring.maxlen:
            self._complete_after = self._ring[0].id
        self._ring.append(event)
        self._num_published += 1
        self._wake_readers()

    def _next_id(self, at: float) -> int:
        self._last_id = max(self._last_id + 1, id_at(at))
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
        """Return the place of the ring's first event. Places count the events that were published
        here; those from before are -1 downwards.
        """
        return self._num_published - len(self._ring)

    def _place_after(self, last_id: int) -> tuple[int, bool]:
        oldest = self._oldest_place()
        if last_id > self._last_id:  # from an earlier run whose clock was ahead
            return oldest, True
        place = oldest + bisect_right(self._ring, last_id, key=lambda event: event.id)
        return place, last_id < self._complete_after

    def _gap(self, missed: int | None) -> Event:
        """Give it the id of the last event that is gone: asking again after it repeats nothing."""
        return Event(self._complete_after, EventKind.GAP, None, self._clock(), {"missed": missed})
