"""/v1/recaps: recap what appeared in ranges of streams, and what left."""

from typing import Any

from fastapi import APIRouter

from app.server.recap_documents import RecapDocument, RecapEntryDocument, RecapProgress
from app.server.sse import EVENT_STREAM
from app.server.stretch_request import Found, Seeker, SeekerHere, Stretches, StretchRequest
from vstream.search.finding import effort_of
from vstream.search.recap import EFFORTS, Recap

router = APIRouter(prefix="/v1", tags=["search"])


@router.post(
    "/recaps",
    summary="Recap what appeared and left",
    response_model=RecapDocument,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "The whole recap; or, with `stream`, an `entry` event for each entry, "
            "`progress` events in between and `done` at the end.",
        }
    },
)
async def recaps(seeker: SeekerHere, wanted: StretchRequest) -> Any:
    """Cover all streams, in time order. Stops if the client disconnects."""
    return await seeker.answered(wanted, _told)


def _told(seeker: Seeker, wanted: StretchRequest, stretches: Stretches) -> Found:
    recap = Recap(effort=effort_of(wanted.effort, of=EFFORTS), **stretches)
    yield "begun", lambda: RecapProgress.of(recap)
    for entry in recap:
        yield "entry", RecapEntryDocument.of_entry(entry)
    yield "done", RecapDocument.of(recap, seeker.service.loaded.zone_of(stretches["within"]))
