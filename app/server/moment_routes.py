"""/v1/moments: a statement in, the spans of streams in which it is so out, as they are found."""

from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import ConfigDict, Field

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import api_error
from app.server.ask_request import TimeRange
from app.server.asking import AskerHere, in_thread
from app.server.documents import frame_url, rfc3339
from app.server.keys import Action, Caller
from app.server.moment_documents import FindingProgress, FoundSpanDocument, FoundSpans
from app.server.service import Service
from app.server.sse import DONE, EVENT_STREAM, event_of, with_pauses
from vstream.device.asker import Asker
from vstream.search.finding import Finding, FoundSpan, effort_of

_PAUSE_S = 0.25
"""Who listens hears at least so often how far it has come, and so can go at any time."""

_KINDS = {FoundSpanDocument: "span", FindingProgress: "progress", FoundSpans: "done"}
Found = Generator[Finding | FoundSpanDocument | FoundSpans]

router = APIRouter(prefix="/v1", tags=["search"])


class MomentsRequest(TimeRange):
    """`stream_ids` of `*` are all that this key may ask about. `proposals`, `judgements` (both of
    each stream) and `milliseconds` are those of `effort` unless given.
    """

    model_config = ConfigDict(strict=True)

    statement: str = Field(min_length=1, max_length=1000)
    stream_ids: list[Annotated[str, Field(max_length=128)]] = Field(
        ["*"], min_length=1, max_length=64
    )
    effort: Literal["quick", "default", "thorough"] = "default"
    proposals: int | None = Field(None, ge=0, le=1_000_000)
    judgements: int | None = Field(None, ge=0, le=1_000_000)
    milliseconds: int | None = Field(None, ge=0, le=600_000)
    stream: bool = Field(False, description="Send each span as an event once it is found.")


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
    for stream_id in wanted.stream_ids:
        if stream_id != "*":
            require(caller, Action.ASK, stream_id)
    found = _found(service, caller, asker, wanted)
    finding = await in_thread(request, lambda: next(found))
    assert isinstance(finding, Finding)
    if wanted.stream:
        events = _events(request, asker, finding, found)
        return StreamingResponse(events, media_type="text/event-stream")
    return await in_thread(request, lambda: [*found][-1])


def _found(service: Service, caller: Caller, asker: Asker, wanted: MomentsRequest) -> Found:
    """The Finding once it can begin, the spans as they are found, then the whole. Raises
    UnknownStreamError, QuestionError, KVMemoryError; CancelledError if the asker leaves.
    """
    streams, ids = service.loaded.streams, list(dict.fromkeys(wanted.stream_ids))
    if "*" in ids:
        watched = [keeper.spec.id for keeper in streams.all()]
        ids = [stream_id for stream_id in watched if caller.may(Action.ASK, stream_id)]
    within = {stream_id: service.loaded.stream_range(stream_id, wanted) for stream_id in ids}
    bounds = wanted.proposals, wanted.judgements, wanted.milliseconds
    with ExitStack() as reading:
        finding = Finding(
            {one: reading.enter_context(streams.askable(one)) for one in ids},
            wanted.statement,
            within=within,
            effort=effort_of(wanted.effort, *bounds),
            layers=service.settings.engine.search_layers,
            asker=asker,
        )
        reading.callback(service.metrics.found, finding)
        yield finding
        yield from map(_document, finding)
        told = finding.document()
        del told["spans"]
        yield FoundSpans(data=[_document(span) for span in finding.spans], **told)


def _document(span: FoundSpan) -> FoundSpanDocument:
    return FoundSpanDocument(
        stream_id=span.stream,
        from_=rfc3339(span.from_at),
        to=rfc3339(span.to_at),
        at=rfc3339(span.at),
        frame_url=frame_url(span.stream, span.at_s),
        **{name: getattr(span, name) for name in ("from_s", "to_s", "at_s", "is_whole")},
        probability=span.probability,
    )


async def _events(
    request: Request, asker: Asker, finding: Finding, found: Found
) -> AsyncIterator[str]:
    try:
        async for one in with_pauses(_documents(request, found), _PAUSE_S):
            told = one or FindingProgress(judged=finding.judged, known=finding.known)
            yield event_of(told.model_dump(by_alias=True), _KINDS[type(told)])
    except Exception as error:  # noqa: BLE001  the headers are gone: it is told in the stream
        yield event_of(api_error(error).body)
    finally:
        asker.leave()
        with suppress(ValueError):  # it is in a thread that was left, and ends by itself
            found.close()
    yield DONE


async def _documents(
    request: Request, found: Found
) -> AsyncIterator[FoundSpanDocument | FoundSpans]:
    while (one := await in_thread(request, lambda: next(found, None), abandon=True)) is not None:
        assert not isinstance(one, Finding)
        yield one
