"""/v1/recaps: stretches of streams in, what came and left in them out."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request

from app.server.access import CallerHere, ServiceHere
from app.server.asking import AskerHere
from app.server.keys import Caller
from app.server.recap_documents import RecapDocument, RecapEntryDocument, RecapProgress
from app.server.service import Service
from app.server.sse import EVENT_STREAM
from app.server.stretch_request import Found, StretchRequest, answered
from vstream.device.asker import Asker
from vstream.search.finding import effort_of
from vstream.search.recap import EFFORTS, Recap

router = APIRouter(prefix="/v1", tags=["search"])


@router.post(
    "/recaps",
    summary="Tell what came and left",
    response_model=RecapDocument,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "The whole or, with `stream`, an `entry` event each, `progress` "
            "where none comes for a while, and then `done`.",
        }
    },
)
async def recaps(
    service: ServiceHere,
    caller: CallerHere,
    asker: AskerHere,
    request: Request,
    wanted: StretchRequest,
) -> Any:
    """Tell what came and left in all streams, in time order. It ends when the client goes away."""
    wanted.require_allowed(caller)
    found = _told(service, caller, asker, wanted)
    return await answered(request, asker, found, is_streamed=wanted.stream)


def _told(service: Service, caller: Caller, asker: Asker, wanted: StretchRequest) -> Found:
    """Raises UnknownStreamError, QuestionError, KVMemoryError; CancelledError if the asker
    leaves.
    """
    within = wanted.bounds(service, caller)
    with ExitStack() as reading:
        recap = Recap(
            {one: reading.enter_context(service.loaded.streams.askable(one)) for one in within},
            within=within,
            effort=effort_of(wanted.effort, of=EFFORTS),
            layers=service.settings.engine.search_layers,
            asker=asker,
        )
        yield "begun", lambda: RecapProgress.of(recap)
        for entry in recap:
            yield "entry", RecapEntryDocument.of_entry(entry)
        yield "done", RecapDocument.of(recap, service.loaded.zone_of(within))
