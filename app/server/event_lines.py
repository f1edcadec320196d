"""EventFilter: selects the events that a client asks for and may see, and writes them as lines."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from app.server.api_errors import ApiError
from app.server.documents import pictured
from app.server.keys import Action, Caller
from app.server.sse import event_of, with_pauses
from vstream.service.event import Event, EventKind
from vstream.service.event_log import EventLog, id_at
from vstream.times.when import parse_when

_PING_S = 15.0
_ID_DIGITS = 13
"""Epoch seconds have fewer digits, event ids have at least this many."""
_OF_FIRINGS = (EventKind.ALERT_FIRED, EventKind.ALERT_DESCRIBED)


@dataclass(frozen=True)
class EventFilter:
    """What the request asks for."""

    last_event_id: str | None
    stream_id: str | None
    kind: str | None
    since: str | None

    def lines(self, events: EventLog, caller: Caller, zone: ZoneInfo) -> AsyncIterator[str]:
        """Return the lines to send. Misses no event after this call. Raises ApiError,
        QuestionError.
        """
        if self.last_event_id is not None and not self.last_event_id.isdecimal():
            raise ApiError(400, "Last-Event-ID must be the id of an event", "invalid_value")
        from_id = None if self.last_event_id is None else int(self.last_event_id)
        if from_id is None and self.since is not None:
            from_id = _id_of(self.since, zone)  # Last-Event-ID, sent on reconnecting, wins
        return self._lines(events.follow(from_id), caller)

    async def _lines(self, following: AsyncIterator[Event], caller: Caller) -> AsyncIterator[str]:
        yield ": listening\n\n"
        async for event in with_pauses(following, _PING_S):
            if event is None:
                yield ": still here\n\n"  # proxies cut idle connections
                continue
            is_seen = self.stream_id in (None, event.stream_id) and _may_see(caller, event)
            for name in _names_of(event):
                if event.kind is EventKind.GAP or (is_seen and self.kind in (None, name)):
                    yield _document(event, name)


def _id_of(since: str, zone: ZoneInfo) -> int:
    """Return the id that events since then come after. Raises ApiError."""
    if since.isdecimal() and len(since) >= _ID_DIGITS:
        return int(since)
    now = datetime.now(zone)
    moment = parse_when(since, now)
    if moment is None or moment > now:
        raise ApiError(400, "since must be in the past", "invalid_value", param="since")
    return id_at(moment.timestamp()) - 1


def _names_of(event: Event) -> list[str]:
    """Return the event's kind, and for alerts reported as watches also its name before 0.3."""
    old = [event.kind.replace("alert.", "watch.")] if "watch_id" in event.data else []
    return [event.kind, *old]


def _document(event: Event, name: str) -> str:
    document = {
        "id": event.id,
        "type": name,
        "stream_id": event.stream_id,
        "at": event.at,
        "data": pictured(event.data) if event.kind in _OF_FIRINGS else event.data,
    }
    return event_of(document, kind=name, event_id=event.id)


def _may_see(caller: Caller, event: Event) -> bool:
    if event.owner is not None:
        return caller.name == event.owner
    return caller.may(Action.READ, event.stream_id)
