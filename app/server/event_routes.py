"""/v1/events: events of streams, alerts and answers as they happen, or from a past one on."""

from collections.abc import AsyncIterator
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from app.server.access import CallerHere, ServiceHere
from app.server.event_lines import EventFilter
from app.server.sse import EVENT_STREAM

router = APIRouter(prefix="/v1", tags=["events"])


async def _listening(service: ServiceHere, caller: CallerHere) -> AsyncIterator[None]:
    """Hold a place until the response ends. Raises BusyError."""
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
            "description": "Endless events; to resume after one, send its `id` as Last-Event-ID.",
        }
    },
)
async def events(
    service: ServiceHere,
    caller: CallerHere,
    last_event_id: Annotated[str | None, Header(max_length=32)] = None,
    stream_id: Annotated[str | None, Query(max_length=100)] = None,
    kind: Annotated[
        str | None, Query(max_length=64, description="For example alert.fired.")
    ] = None,
    since: Annotated[
        str | None, Query(max_length=64, description="An event's id, or a time, e.g. -1h.")
    ] = None,
) -> StreamingResponse:
    """Stream the states of streams, firings of alerts and finished answers: from now on, or since
    an event or a time, which may be before the service started.
    """
    wanted = EventFilter(last_event_id, stream_id, kind, since)
    lines = wanted.lines(service.events, caller, ZoneInfo(service.settings.service.timezone))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)
