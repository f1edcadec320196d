"""/v1/search: find the moments of streams that best match some words."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.server.access import CallerHere, ServiceHere, require
from app.server.documents import FoundMoment, frame_url, rfc3339
from app.server.keys import Action, Caller
from app.server.service import Service
from app.server.threads import Work, in_threads
from app.server.time_range import TimeRange

router = APIRouter(prefix="/v1", tags=["search"])


class SearchRequest(TimeRange):
    """`*` in `stream_ids` stands for every stream that this key may see."""

    model_config = ConfigDict(strict=True)

    query: str = Field(min_length=1, max_length=1000)
    stream_ids: list[Annotated[str, Field(max_length=128)]] = Field(
        ["*"], min_length=1, max_length=64
    )
    limit: int = Field(10, ge=1, le=100)


class Found(BaseModel):
    """The moments found, best first."""

    object: str = "list"
    query: str
    data: list[FoundMoment]


@router.post("/search", summary="Search for moments")
async def search(
    service: ServiceHere, caller: CallerHere, request: Request, wanted: SearchRequest
) -> Found:
    """Find the moments that best match some words, without decoding an answer."""
    return await in_threads(
        request, Work.SEARCHING, lambda: _search(service, caller, wanted), caller.holder
    )


def _search(service: Service, caller: Caller, wanted: SearchRequest) -> Found:
    streams = service.loaded.streams
    if "*" in wanted.stream_ids:
        ids = caller.visible([keeper.spec.id for keeper in streams.all()])
    else:
        ids = list(dict.fromkeys(wanted.stream_ids))
        for stream_id in ids:
            require(caller, Action.READ, stream_id)
    spans = {stream_id: service.loaded.stream_range(stream_id, wanted) for stream_id in ids}
    moments = service.loaded.search.search(wanted.query, wanted.limit, spans)
    data = [
        FoundMoment(
            **vars(one),
            stream_id=one.stream,
            at=rfc3339(one.captured_at),
            frame_url=None if one.block_id is None else frame_url(one.stream, one.to_s),
        )
        for one in moments
    ]
    return Found(query=wanted.query, data=data)
