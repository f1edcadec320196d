"""/v1/moments: find the spans of streams in which a statement is true, as they are found."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from app.server.moment_documents import FindingProgress, FoundSpanDocument, FoundSpans
from app.server.sse import EVENT_STREAM
from app.server.stretch_request import Found, Seeker, SeekerHere, Stretches, StretchRequest
from vstream.search.finding import Finding, effort_of

router = APIRouter(prefix="/v1", tags=["search"])


class MomentsRequest(StretchRequest):
    """`effort` sets `proposals` and `judgements` (both per stream) and `milliseconds`, unless they
    are given.
    """

    statement: str = Field(min_length=1, max_length=1000)
    proposals: int | None = Field(None, ge=0, le=1_000_000)
    judgements: int | None = Field(None, ge=0, le=1_000_000)
    milliseconds: int | None = Field(None, ge=0, le=600_000)


@router.post(
    "/moments",
    summary="Find when a statement is true",
    response_model=FoundSpans,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "All spans; or, with `stream`, a `span` event for each, `progress` "
            "events in between and `done` at the end.",
        }
    },
)
async def moments(seeker: SeekerHere, wanted: MomentsRequest) -> Any:
    """Return every span in which a statement is true. Stops if the client disconnects."""
    return await seeker.answered(wanted, _found)


def _found(seeker: Seeker, wanted: MomentsRequest, stretches: Stretches) -> Found:
    bounds = wanted.proposals, wanted.judgements, wanted.milliseconds
    effort = effort_of(wanted.effort, *bounds)
    finding = Finding(statement=wanted.statement, effort=effort, **stretches)
    try:
        yield "begun", lambda: FindingProgress(judged=finding.judged, known=finding.known)
        for span in finding:
            yield "span", FoundSpanDocument.of(span)
        facts = finding.document()
        del facts["spans"]
        yield "done", FoundSpans(data=[FoundSpanDocument.of(one) for one in finding.spans], **facts)
    finally:
        seeker.service.metrics.found(finding)
