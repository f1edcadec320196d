"""/v1/moments: a statement in, the spans of streams in which it is so out, as they are found."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from app.server.access import CallerHere, ServiceHere
from app.server.asking import AskerHere
from app.server.keys import Caller
from app.server.moment_documents import FindingProgress, FoundSpanDocument, FoundSpans
from app.server.service import Service
from app.server.sse import EVENT_STREAM
from app.server.stretch_request import Found, StretchRequest, answered
from vstream.device.asker import Asker
from vstream.search.finding import Finding, effort_of

router = APIRouter(prefix="/v1", tags=["search"])


class MomentsRequest(StretchRequest):
    """`proposals`, `judgements` (both of each stream) and `milliseconds` are those of `effort`
    unless given.
    """

    statement: str = Field(min_length=1, max_length=1000)
    proposals: int | None = Field(None, ge=0, le=1_000_000)
    judgements: int | None = Field(None, ge=0, le=1_000_000)
    milliseconds: int | None = Field(None, ge=0, le=600_000)


@router.post(
    "/moments",
    summary="Find when something is so",
    response_model=FoundSpans,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "All spans or, with `stream`, a `span` event each, `progress` "
            "where none comes for a while, and then `done`.",
        }
    },
)
async def moments(
    service: ServiceHere,
    caller: CallerHere,
    asker: AskerHere,
    request: Request,
    wanted: MomentsRequest,
) -> Any:
    """Find the spans in which a statement is so. It ends when the client goes away."""
    wanted.require_allowed(caller)
    found = _found(service, caller, asker, wanted)
    return await answered(request, asker, found, is_streamed=wanted.stream)


def _found(service: Service, caller: Caller, asker: Asker, wanted: MomentsRequest) -> Found:
    """Raises UnknownStreamError, QuestionError, KVMemoryError; CancelledError if the asker
    leaves.
    """
    within = wanted.bounds(service, caller)
    bounds = wanted.proposals, wanted.judgements, wanted.milliseconds
    with ExitStack() as reading:
        finding = Finding(
            {one: reading.enter_context(service.loaded.streams.askable(one)) for one in within},
            wanted.statement,
            within=within,
            effort=effort_of(wanted.effort, *bounds),
            layers=service.settings.engine.search_layers,
            asker=asker,
        )
        reading.callback(service.metrics.found, finding)
        yield "begun", lambda: FindingProgress(judged=finding.judged, known=finding.known)
        for span in finding:
            yield "span", FoundSpanDocument.of(span)
        told = finding.document()
        del told["spans"]
        yield "done", FoundSpans(data=[FoundSpanDocument.of(one) for one in finding.spans], **told)
