"""Asking: turn a request into an Inquiry about its streams, for as long as the client listens."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Annotated, TypeVar

from anyio import to_thread
from fastapi import Depends, Request

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import UNSUPPORTED, ApiError, no_stream
from app.server.ask_request import REQUEST, AskRequest, NamedStream
from app.server.keys import Action, Caller
from app.server.service import Service
from app.server.showing import passing_stream, require_ask
from app.server.time_range import QuestionSpan
from memory import KVMemoryError
from vstream.device.asker import Asker
from vstream.errors import BusyError, VStreamError
from vstream.question import Question
from vstream.service.event import EventKind
from vstream.service.inquiry import AnswerPiece, Inquiry, StreamAnswer
from vstream.service.shown_media import ShownMedia
from vstream.session import Session

Reply = TypeVar("Reply")


@asynccontextmanager
async def asking(request: Request, service: Service, caller: Caller) -> AsyncIterator[Asker]:
    """An asker with a place, who leaves if the client disconnects, and at the end of the request.
    One who is no longer awaited (`background`) stays. Raises BusyError.
    """
    try:
        asker = service.answering.take(caller.holder)
    except BusyError:
        service.metrics.refused.labels("busy").inc()
        raise
    if service.traces is not None:
        asker.trace = service.traces.of_request(request.headers)
    async with leaving_with_client(request, asker):
        try:
            yield asker
        finally:
            if asker.is_awaited:
                service.answering.end(asker)


@asynccontextmanager
async def leaving_with_client(request: Request, asker: Asker) -> AsyncIterator[None]:
    """In this context, the asker leaves as soon as the client disconnects."""
    listening = asyncio.create_task(_leave_with_client(request, asker))
    try:
        yield
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _asker(
    request: Request, service: ServiceHere, caller: CallerHere
) -> AsyncIterator[Asker]:
    async with asking(request, service, caller) as asker:
        yield asker


AskerHere = Annotated[Asker, Depends(_asker)]


async def _leave_with_client(request: Request, asker: Asker) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
    if asker.is_awaited:
        asker.leave()


def pinned(service: Service, streams: Iterable[NamedStream]) -> dict[str, QuestionSpan]:
    """Return their stretches in stream time, with the present moment. Leaves out malformed ones:
    asking about those raises the error.
    """
    spans, loaded = {}, service.loaded
    for one in streams:
        with suppress(VStreamError, KVMemoryError):
            from_s, to_s = loaded.stream_range(one.stream_id, one.span)
            with loaded.streams.askable(one.stream_id) as stream:
                as_of_s = one.span.as_of_s or stream.memory.newest_s
            spans[one.stream_id] = QuestionSpan(from_s=from_s, to_s=to_s, as_of_s=as_of_s)
    return spans


def begin(
    service: Service,
    caller: Caller,
    asker: Asker,
    ask_request: AskRequest,
    shown: tuple[ShownMedia, ...] = (),
) -> Inquiry:
    """Ask every named stream, and the media `shown` in the request. Blocks until the question has
    been read. Raises ApiError, QuestionError, SourceError, BusyError, StoreError; CancelledError if
    the asker leaves.
    """
    streams, decoding = service.loaded.streams, ask_request.decoding
    named = ask_request.streams or (() if shown else only_stream(service, caller))
    if len(named) + bool(shown) > 1 and (decoding.schema or decoding.json_object):
        why = "JSON is not supported about several streams: ask about one at a time"
        raise ApiError(400, why, UNSUPPORTED, param="response_format")
    asked = Question(
        ask_request.text,
        dialogue=ask_request.dialogue,
        zone=ask_request.timezone,
        context=ask_request.system,
        decoding=decoding,
        policy=ask_request.policy,
        plan=ask_request.plan,
        asker=asker,
    )
    questions = []
    for one in named:
        require(caller, Action.ASK, one.stream_id)
        span = ask_request.spans.get(one.stream_id, one.span)
        from_s, to_s = service.loaded.stream_range(one.stream_id, span)
        context, zone = "", None
        if (spec := streams.spec_of(one.stream_id)) is not None:
            context, zone = spec.context, spec.timezone
            if not spec.is_recording:
                zone = zone or service.settings.service.timezone
        at_s = span.at_s(to_s)
        known = "\n".join(part for part in (context, ask_request.system) if part)
        question = replace(asked, at_s=at_s, from_s=from_s, zone=asked.zone or zone, context=known)
        questions.append((one.stream_id, question))
    passing: dict[str, Session] = {}
    if shown or not named:
        passing[REQUEST] = passing_stream(service, asker, shown)
        if not any(one.is_clip for one in shown):  # single pictures have no times to refer to
            asked = replace(asked, from_s=0.0, zone=None, plan=False)
        questions.append((REQUEST, asked))
    try:
        return Inquiry(streams, questions, passing)
    except BusyError:
        service.metrics.refused.labels("busy").inc()
        raise


def finished(service: Service, inquiry: Inquiry) -> list[StreamAnswer]:
    """Return the answers of a finished inquiry; count, log and publish them."""
    found = inquiry.answers
    for one in found:
        answer = one.answer
        service.metrics.answered(answer)
        if service.traces is not None:
            service.traces.answered(service.loaded.model.name, one)
        # Without the text: users must not see each other's questions.
        times = {"at_s": answer.asked_at_s, "ttft_ms": answer.timings_ms.ttft}
        service.events.publish(EventKind.ANSWER_DONE, one.stream_id, {**times, **answer.basis()})
        if service.answer_log is not None and not one.is_passing:
            service.answer_log.add(service.events.new_id(), service.loaded.model.name, one)
    return found


async def next_piece(request: Request, inquiry: Inquiry) -> AnswerPiece | None:
    """The next piece of text; None at the end. Decoding stops if the client disconnects."""
    try:
        return await in_thread(request, lambda: next(inquiry.pieces, None), abandon=True)
    except BaseException:
        inquiry.cancel()
        raise


async def in_thread(request: Request, call: Callable[[], Reply], *, abandon: bool = False) -> Reply:
    """Run a call that may wait for the device, without holding up other requests."""
    limiter = request.app.state.answering
    return await to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=abandon)


def require_model(service: Service, name: str) -> str:
    """The model's own name; `name` may be that, `default` or an alias. Raises ApiError."""
    own = service.loaded.model.name
    if name not in ("default", own, *service.settings.service.model_aliases):
        why = f"no such model: {name!r}; use `default` or {own!r}"
        raise ApiError(404, why, "model_not_found", param="model")
    return own


def only_stream(service: Service, caller: Caller) -> tuple[NamedStream, ...]:
    """The one stream that this caller sees; empty if it sees none, to ask the model alone. Raises
    ApiError if there are several, or if the key may not ask; StoreError.
    """
    allowed = seen_by(service, caller)
    if len(allowed) > 1:
        raise no_stream([one.stream_id for one in allowed])
    if not allowed:
        require_ask(caller)
    return allowed


def seen_by(service: Service, caller: Caller) -> tuple[NamedStream, ...]:
    """Return the streams of this service and its fellow workers that a caller may ask about.
    Raises StoreError.
    """
    seen = sorted(service.loaded.streams.wanted())
    return tuple(NamedStream(one, QuestionSpan()) for one in seen if caller.may(Action.ASK, one))
