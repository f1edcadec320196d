"""/v1/moments: a statement in, the spans of streams in which it is so out, as they are found."""

from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import api_error
from app.server.ask_request import TimeRange
from app.server.asking import AskerHere, in_thread
from app.server.documents import frame_url, rfc3339
from app.server.keys import Action, Caller
from app.server.service import Service
from app.server.sse import DONE, EVENT_STREAM, event_of
from vstream.device.asker import Asker
from vstream.search.finding import Finding, FoundSpan, effort_of

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


class FoundSpanDocument(BaseModel):
    """A stretch in which it is so. `at` is when it is most probable, and `frame_url` shows it."""

    stream_id: str
    from_s: float
    to_s: float
    from_: str = Field(serialization_alias="from")
    to: str
    probability: float
    at: str
    at_s: float
    is_whole: bool = Field(description="It is known not to be so right before and right after.")
    frame_url: str


class CoveredDocument(BaseModel):
    """A part of a stretch: judged by the model, excluded by the index, neither (`open`), or gone
    from the memory.
    """

    kind: Literal["judged", "excluded", "open", "gone"]
    from_s: float
    to_s: float


class FoundSpans(BaseModel):
    """All spans, by stream and time; `coverage` has the parts of each stream's stretch."""

    object: str = "moments"
    statement: str
    data: list[FoundSpanDocument]
    coverage: dict[str, list[CoveredDocument]]
    judged: int = Field(description="Blocks that the model judged.")
    known: int = Field(description="Blocks that it had judged before.")
    seconds: float


@router.post(
    "/moments",
    summary="Find when something is so",
    response_model=FoundSpans,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "All spans or, with `stream`, a `span` event each and then `done`.",
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
    await in_thread(request, lambda: next(found))
    if wanted.stream:
        return StreamingResponse(_events(request, asker, found), media_type="text/event-stream")
    return await in_thread(request, lambda: [*found][-1])


def _found(
    service: Service, caller: Caller, asker: Asker, wanted: MomentsRequest
) -> Generator[FoundSpanDocument | FoundSpans | None]:
    """None once it has begun, the spans as they are found, then the whole. Raises
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
        yield None
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
    request: Request, asker: Asker, found: Generator[FoundSpanDocument | FoundSpans | None]
) -> AsyncIterator[str]:
    try:
        while (
            one := await in_thread(request, lambda: next(found, None), abandon=True)
        ) is not None:
            kind = "done" if isinstance(one, FoundSpans) else "span"
            yield event_of(one.model_dump(by_alias=True), kind)
    except Exception as error:  # noqa: BLE001  the headers are gone: it is told in the stream
        yield event_of(api_error(error).body)
    finally:
        asker.leave()
        with suppress(ValueError):  # it is in a thread that was left, and ends by itself
            found.close()
    yield DONE
