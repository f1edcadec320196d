"""/v1/events: what happens to streams and alerts, as it happens, from any event on."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from app.server.access import CallerHere, ServiceHere
from app.server.api_errors import ApiError
from app.server.documents import pictured
from app.server.keys import Action, Caller
from app.server.sse import EVENT_STREAM, event_of, with_pauses
from vstream.service.event import Event, EventKind
from vstream.service.event_log import id_at
from vstream.times.when import parse_when

_PING_S = 15.0
_ID_DIGITS = 13
"""Seconds since the epoch have fewer, ids of events have more."""
_OF_FIRINGS = (EventKind.ALERT_FIRED, EventKind.ALERT_DESCRIBED)
router = APIRouter(prefix="/v1", tags=["events"])


async def _listening(service: ServiceHere, caller: CallerHere) -> AsyncIterator[None]:
    """Holds a place until the response has ended. Raises BusyError."""
    with service.listeners.held(caller.holder):
        yield


@router.get(
    "/events",
    summary="Listen to events",
    response_class=StreamingResponse,
    dependencies=[Depends(_listening)],
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "Events without end; `id` goes into Last-Event-ID to go on after it.",
        }
    },
)
async def events(
    service: ServiceHere,
    caller: CallerHere,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
    stream_id: Annotated[str | None, Query(max_length=100)] = None,
    kind: Annotated[str | None, Query(max_length=64, description="As alert.fired.")] = None,
    since: Annotated[
        str | None, Query(max_length=64, description="An event's id, or a time, as -1h.")
    ] = None,
) -> StreamingResponse:
    """Stream states, firings of alerts, answers: from now on, or from an event or a time on, also
    of before the service began.
    """
    if last_event_id is not None and not last_event_id.isdecimal():
        raise ApiError(400, "Last-Event-ID is the id of an event", "invalid_value")
    from_id = None if last_event_id is None else int(last_event_id)
    if from_id is None and since is not None:  # who connects again goes on after the last one
        from_id = _id_of(since, ZoneInfo(service.settings.service.timezone))
    following = service.events.follow(from_id)

    async def told() -> AsyncIterator[str]:
        yield ": listening\n\n"
        async for event in with_pauses(following, _PING_S):
            if event is None:
                yield ": still here\n\n"  # idle connections are cut on their way
                continue
            is_seen = stream_id in (None, event.stream_id) and _may_see(caller, event)
            for name in _names_of(event):
                if event.kind is EventKind.GAP or (is_seen and kind in (None, name)):
                    yield _document(event, name)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(told(), media_type="text/event-stream", headers=headers)


def _id_of(since: str, zone: ZoneInfo) -> int:
    """After which it is since then. Raises ApiError."""
    if since.isdecimal() and len(since) >= _ID_DIGITS:
        return int(since)
    now = datetime.now(zone)
    moment = parse_when(since, now)
    if moment is None or moment > now:
        raise ApiError(400, "since is no time of the past", "invalid_value", param="since")
    return id_at(moment.timestamp()) - 1


def _names_of(event: Event) -> list[str]:
    """With the one of before 0.3, of an alert that is told as that."""
    old = [event.kind.replace("alert.", "watch.")] if "watch_id" in event.data else []
    return [event.kind, *old]


def _document(event: Event, name: str) -> str:
    told = {
        "id": event.id,
        "type": name,
        "stream_id": event.stream_id,
        "at": event.at,
        "data": pictured(event.data) if event.kind in _OF_FIRINGS else event.data,
    }
    return event_of(told, kind=name, event_id=event.id)


def _may_see(caller: Caller, event: Event) -> bool:
    if event.owner is not None:
        return caller.name == event.owner
    return caller.may(Action.READ, event.stream_id)
