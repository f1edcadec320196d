"""/v1/responses: ask in the background, then get, follow or cancel the response."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.server.access import CallerHere, ServiceHere
from app.server.api_errors import ApiError, no_key
from app.server.ask_request import AskRequest, ask_request_of
from app.server.asking import (
    AskerHere,
    asking,
    begin,
    finished,
    in_thread,
    only_stream,
    pinned,
    require_model,
)
from app.server.attempt import attempt_of
from app.server.background import Ask, Finish
from app.server.chat_documents import Wishes
from app.server.documents import Deleted
from app.server.keys import Caller
from app.server.messages import InputMessage, Words, only
from app.server.response_record import ENDED, ResponseRecord, response_document
from app.server.service import Service
from app.server.showing import shown_by
from app.server.sse import EVENT_STREAM, event_of
from vstream.device.asker import Asker

_CANCEL_S = 30.0
_LOOK_S = 0.02
_LEFT = ApiError(503, "the service is ending: look the response up again", "cancelled")
router = APIRouter(prefix="/v1/responses", tags=["questions"])


class TextFormat(BaseModel):
    """Like the format in /v1/chat/completions, but with the schema's fields next to `type`."""

    model_config = ConfigDict(strict=True, populate_by_name=True)

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = Field("answer", max_length=64)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


MetadataKey = Annotated[str, Field(max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]


class TextOptions(BaseModel):
    format: TextFormat = TextFormat()


_EXAMPLE: JsonDict = {
    "model": "default",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "stream://door?from=-1h"}},
                {"type": "input_text", "text": "who came?"},
            ],
        }
    ],
    "background": True,
}


class ResponseRequest(Wishes):
    """Other fields are ignored, unless they would change the answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model: str = Field("default", max_length=200)
    input: Words | list[InputMessage] = Field(
        description="The question; parts as in /v1/chat/completions, and {type: input_text}."
    )
    instructions: Words | None = Field(
        None, description="Background and instructions, for this question only."
    )
    previous_response_id: str | None = Field(
        None, max_length=100, description="Continue its dialogue, about the same streams."
    )
    background: bool = Field(False, description="Return at once; get the answer later by its id.")
    store: bool | None = Field(
        None, description="false: drop the response once it ends; else keep it for an hour."
    )
    max_output_tokens: int | None = Field(None, ge=1, description="Capped at 4096.")
    metadata: dict[MetadataKey, MetadataValue] | None = Field(None, max_length=16)
    tools: list[Any] | None = Field(None, description="Ignored; see `tools_ignored`.")
    tool_choice: Any = None
    text: TextOptions | None = None
    conversation: Annotated[str | None, only()] = None
    prompt: Annotated[str | None, only()] = None


class ResponseDocument(BaseModel):
    """OpenAI's response object; see their API reference."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    model: str
    output: list[dict[str, Any]]
    error: dict[str, Any] | None


_DESCRIPTION = "The response; or, with `stream`, its events."
_SHAPES: dict[int | str, dict[str, Any]] = {
    200: {"content": EVENT_STREAM, "description": _DESCRIPTION}
}


@router.post("", summary="Create a response", response_model=ResponseDocument, responses=_SHAPES)
async def create(
    service: ServiceHere,
    caller: CallerHere,
    asker: AskerHere,
    request: Request,
    wanted: ResponseRequest,
) -> Any:
    """Ask. With `background`, look the answer up later; with `stream`, follow its events."""
    model, attempt = require_model(service, wanted.model), attempt_of(request.scope)
    ask_request = replace(_ask_request(wanted), spans=attempt.spans)
    if wanted.previous_response_id is not None:
        before = await _found(service, wanted.previous_response_id, caller)
        streams = ask_request.streams or before.request.streams
        dialogue = (*before.turns, *ask_request.dialogue)
        ask_request = replace(ask_request, dialogue=dialogue, streams=streams)
    if not (ask_request.streams or ask_request.media):  # forgetting the stream must find it
        with suppress(ApiError):  # asking says what is wrong
            seen = await in_thread(request, lambda: only_stream(service, caller))
            ask_request = replace(ask_request, streams=seen)
    if wanted.background and wanted.store is False:
        why = "a background response must be stored: leave `store` out"
        raise ApiError(400, why, "invalid_value", param="store")
    if wanted.background and not attempt.spans:
        spans = await in_thread(request, lambda: pinned(service, ask_request.streams))
        ask_request = replace(ask_request, spans=spans)
    shown = await shown_by(service, caller, asker, ask_request)
    ask_request = replace(ask_request, media=())  # it is kept, for an hour
    ask = partial(begin, service, caller, asker, ask_request, shown)
    # In the foreground, a fault in the question is an error of this request.
    begun = None if wanted.background else await in_thread(request, ask)
    record = ResponseRecord(
        owner=caller.name,
        model=model,
        request=ask_request,
        asker=asker,
        background=wanted.background,
        metadata=wanted.metadata or {},
        instructions=wanted.instructions,
        previous=wanted.previous_response_id,
        is_kept=wanted.store is not False,
        shows_media=bool(shown),
        id=f"resp_{attempt.id}",
        created_at=attempt.created_at,
    )
    start = partial(
        service.responses.begin, record, lambda: begun or ask(), partial(finished, service)
    )
    await to_thread.run_sync(start)
    if wanted.stream:
        return _streamed(request, service, record, -1)
    if not wanted.background:
        await in_thread(request, lambda: _wait(record))
    return JSONResponse(response_document(record))


async def _following(
    request: Request, service: ServiceHere, caller: CallerHere, stream: bool = False
) -> AsyncIterator[None]:
    """Hold a place while a client follows events. Raises BusyError."""
    if not stream:
        yield
        return
    async with asking(request, service, caller):
        yield


@router.get(
    "/{response_id}",
    summary="Get a response",
    response_model=ResponseDocument,
    responses=_SHAPES,
    dependencies=[Depends(_following)],
)
async def retrieve(
    service: ServiceHere,
    caller: CallerHere,
    request: Request,
    response_id: str,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1, description="A sequence_number.")] = -1,
) -> Any:
    """Return a response as it is now or, with `stream`, its events after `starting_after`."""
    record = await _found(service, response_id, caller)
    if stream:
        return _streamed(request, service, record, starting_after)
    return JSONResponse(response_document(record))


@router.post("/{response_id}/cancel", summary="Cancel a response", response_model=ResponseDocument)
async def cancel(service: ServiceHere, caller: CallerHere, response_id: str) -> Any:
    """Stop answering."""
    return JSONResponse(response_document(await _cancelled(service, response_id, caller)))


@router.delete("/{response_id}", summary="Delete a response")
async def delete(service: ServiceHere, caller: CallerHere, response_id: str) -> Deleted:
    """Cancel it and forget it."""
    record = await _cancelled(service, response_id, caller)
    await to_thread.run_sync(service.responses.forget, record)
    return Deleted(id=response_id, object="response")


def _ask_request(wanted: ResponseRequest) -> AskRequest:
    given = wanted.input
    if isinstance(given, str):
        given = [InputMessage(role="user", content=given)]
    if wanted.instructions:
        given = [InputMessage(role="developer", content=wanted.instructions), *given]
    text = (wanted.text or TextOptions()).format
    messages = given or [InputMessage(role="user", content="")]
    max_tokens = wanted.max_output_tokens
    asked = ask_request_of(messages, wanted, text.type, text.schema_, max_tokens=max_tokens)
    return replace(asked, tools_ignored=bool(wanted.tools))


def _wait(record: ResponseRecord) -> None:
    with record.changed:
        record.changed.wait_for(lambda: record.status in ENDED)


async def _found(service: Service, response_id: str, caller: Caller) -> ResponseRecord:
    """Raises ApiError, StoreError."""
    return await to_thread.run_sync(service.responses.get, response_id, caller)


async def _cancelled(service: Service, response_id: str, caller: Caller) -> ResponseRecord:
    """Cancel a response and return it once it has ended. Uses none of the answering threads, as
    the answers to cancel may hold them all. Raises ApiError, StoreError.
    """
    give_up_at = time.monotonic() + _CANCEL_S
    await to_thread.run_sync(service.responses.cancel, response_id, caller)
    while True:
        record = await _found(service, response_id, caller)
        if record.status in ENDED or time.monotonic() > give_up_at:
            return record
        await asyncio.sleep(_LOOK_S)


def resume(service: Service, record: ResponseRecord) -> tuple[Ask, Finish]:
    """Return how to continue what another process has left. Raises ApiError if its key is no longer
    valid.
    """
    caller = service.keys.named(record.owner)
    if caller is None or not service.loaded:
        raise no_key()
    record.asker = Asker(caller.holder)
    ask = lambda: begin(service, caller, record.asker, record.request)  # noqa: E731  its asker then
    return ask, partial(finished, service)


def _streamed(
    request: Request, service: Any, record: ResponseRecord, after: int
) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        gone = threading.Event()
        following = record.follow(after, gone)
        try:
            while True:
                event = await in_thread(request, lambda: next(following, None), abandon=True)
                if event is None:
                    if record.is_left:
                        yield event_of(_LEFT.body)
                    return
                yield event_of(event, kind=event["type"])
        finally:
            gone.set()

    return StreamingResponse(events(), media_type="text/event-stream")
