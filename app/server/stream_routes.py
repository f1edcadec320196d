"""/v1/streams: create, list, get, change, pause, restart, forget, delete and probe streams."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, ValidationError

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import ApiError, invalid_value
from app.server.documents import Deleted, StreamDocument, stream_document
from app.server.keys import Action
from app.server.time_range import TimeRange
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_spec import SourceSpec, StreamSpec
from vstream.sources.probe import ProbeReport
from vstream.sources.source_process import probe_apart

router = APIRouter(prefix="/v1/streams", tags=["streams"])


def _managed(service: ServiceHere, caller: CallerHere, stream_id: str) -> StreamKeeper:
    require(caller, Action.MANAGE, stream_id)
    return service.loaded.streams.get(stream_id)


Managed = Annotated[StreamKeeper, Depends(_managed)]
"""A stream of this service that the caller may change."""


class StreamList(BaseModel):
    """`stored` has the ids of streams in the store that this service has not opened."""

    object: str = "list"
    data: list[StreamDocument]
    stored: list[str]


class ProbeRequest(BaseModel):
    source: SourceSpec


class Forgotten(BaseModel):
    """How many blocks were deleted, and from which range of stream time."""

    id: str
    object: str = "memory.forgotten"
    blocks: int
    from_s: float
    to_s: float


class StreamChange(BaseModel):
    """What can be changed while a stream runs."""

    context: str | None = Field(None, max_length=4000)
    timezone: str | None = Field(None, max_length=64, description="IANA name.")


@router.post("", status_code=201, summary="Create a stream")
def create(service: ServiceHere, caller: CallerHere, spec: StreamSpec) -> StreamDocument:
    """Add a stream and open its source at once."""
    require(caller, Action.MANAGE, spec.id)
    return stream_document(service.loaded.streams.create(spec), caller)


@router.get("", summary="List streams")
def all_streams(service: ServiceHere, caller: CallerHere) -> StreamList:
    """Return all streams that this key may see."""
    streams = service.loaded.streams
    return StreamList(
        data=[
            stream_document(one, caller)
            for one in streams.all()
            if caller.may(Action.READ, one.spec.id)
        ],
        stored=caller.visible(streams.stored()),
    )


@router.post("/probe", summary="Probe a source")
def probe(service: ServiceHere, caller: CallerHere, wanted: ProbeRequest) -> ProbeReport:
    """Check a source without adding it: report what it is, or what is wrong with it."""
    require(caller, Action.MANAGE, None)
    url = wanted.source.url
    if url is None:
        raise ApiError(422, "a source of type push cannot be probed", "source_invalid")
    config = service.policy.confined(service.settings.source)
    if wanted.source.transport is not None:
        config = config.model_copy(update={"transport": wanted.source.transport})
    return probe_apart(url, config, permit=service.policy.check)


@router.get("/{stream_id}", summary="Get a stream")
def one(service: ServiceHere, caller: CallerHere, stream_id: str) -> StreamDocument:
    """Return a stream's settings and state."""
    require(caller, Action.READ, stream_id)
    return stream_document(service.loaded.streams.get(stream_id), caller)


@router.patch("/{stream_id}", summary="Change a stream")
def change(
    service: ServiceHere, caller: CallerHere, stream_id: str, wanted: StreamChange
) -> StreamDocument:
    """Set the context that goes with every question about the stream, or its time zone."""
    keeper = _managed(service, caller, stream_id)
    given = wanted.model_dump(exclude_none=True)
    try:
        spec = StreamSpec.model_validate({**keeper.spec.model_dump(), **given})
    except ValidationError as error:
        raise invalid_value(error.errors()) from None
    keeper.change(spec)
    return stream_document(keeper, caller)


@router.delete("/{stream_id}", summary="Delete a stream")
def delete(
    service: ServiceHere,
    caller: CallerHere,
    stream_id: str,
    purge: Annotated[bool, Query(description="Also delete the stream's memory.")] = False,
) -> Deleted:
    """Close a stream and remove it. Its memory stays in the store unless `purge` is set."""
    require(caller, Action.MANAGE, stream_id)
    service.loaded.streams.delete(stream_id, purge=purge)
    service.metrics.forget(stream_id)
    return Deleted(id=stream_id, object="stream")


@router.post("/{stream_id}/pause", summary="Pause a stream")
def pause(keeper: Managed, caller: CallerHere) -> StreamDocument:
    """Close the source. The stream can still be asked about."""
    keeper.pause()
    return stream_document(keeper, caller)


@router.post("/{stream_id}/resume", summary="Resume a stream")
def resume(keeper: Managed, caller: CallerHere) -> StreamDocument:
    """Reopen the source."""
    keeper.resume()
    return stream_document(keeper, caller)


@router.post("/{stream_id}/restart", summary="Restart a stream")
def restart(keeper: Managed, caller: CallerHere) -> StreamDocument:
    """Close and reopen the source at once."""
    keeper.restart()
    return stream_document(keeper, caller)


@router.delete("/{stream_id}/memory", summary="Forget a range of time")
def forget(
    service: ServiceHere,
    caller: CallerHere,
    stream_id: str,
    span: Annotated[TimeRange, Query()],
) -> Forgotten:
    """Permanently delete a range of a stream's memory, in every tier."""
    require(caller, Action.MANAGE, stream_id)
    if span.is_open:
        wanted = "give a range to forget: from and to, or from_s and to_s"
        raise ApiError(422, wanted, "invalid_value")
    from_s, to_s = service.loaded.stream_range(stream_id, span, between_blocks=True)
    if from_s is None or to_s is None:
        raise ApiError(422, "give both ends of the range to forget", "invalid_value")
    if from_s > to_s and span.from_ is None and span.to is None:
        raise ApiError(422, "from_s is after to_s", "invalid_value", param="from_s")
    if from_s > to_s:  # a range before the stream began
        return Forgotten(id=stream_id, blocks=0, from_s=0, to_s=0)
    blocks = service.loaded.streams.forget(stream_id, from_s, to_s)
    return Forgotten(id=stream_id, blocks=blocks, from_s=from_s, to_s=to_s)
