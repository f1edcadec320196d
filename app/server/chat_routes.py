"""/v1/chat/completions: answer a question about streams, with citations."""

from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from app.server.access import CallerHere, ServiceHere
from app.server.api_errors import api_error
from app.server.ask_request import ask_request_of, with_offer
from app.server.asking import AskerHere, begin, finished, in_thread, next_piece, require_model
from app.server.attempt import attempt_of
from app.server.chat_documents import (
    AnswerMessage,
    ChatAnswer,
    ChatRequest,
    Choice,
    ResponseFormat,
    evidence_of,
    usage_of,
)
from app.server.documents import citations
from app.server.service import Service
from app.server.showing import shown_by
from app.server.sse import DONE, EVENT_STREAM, event_of
from app.server.tool_calls import Offer, offer_of
from vstream.service.inquiry import Inquiry, StreamAnswer

router = APIRouter(prefix="/v1", tags=["questions"])


@router.post(
    "/chat/completions",
    summary="Ask a question",
    response_model=ChatAnswer,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "The whole answer; or, with `stream`, chunks of it as events.",
        }
    },
)
async def complete(
    service: ServiceHere,
    caller: CallerHere,
    asker: AskerHere,
    request: Request,
    wanted: ChatRequest,
) -> Any:
    """Ask about one or more streams. A `video_citation` annotation cites each moment used."""
    model = require_model(service, wanted.model)
    output_format, stop = wanted.response_format or ResponseFormat(), wanted.stop or ()
    ask_request = ask_request_of(
        wanted.messages,
        wanted,
        output_format.type,
        output_format.json_schema.schema_ if output_format.json_schema else None,
        max_tokens=wanted.max_completion_tokens or wanted.max_tokens,
        seed=wanted.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )
    family = service.loaded.model.family
    offer = await in_thread(request, lambda: offer_of(family, wanted.tools, wanted.tool_choice))
    if offer is not None:
        ask_request = with_offer(ask_request, offer)
    attempt = attempt_of(request.scope)
    ask_request = replace(ask_request, spans=attempt.spans)
    shown = await shown_by(service, caller, asker, ask_request)
    inquiry = await in_thread(request, lambda: begin(service, caller, asker, ask_request, shown))
    left_out = offer is None and bool(wanted.tools) and wanted.tool_choice != "none"
    head = {
        "id": f"chatcmpl-{attempt.id}",
        "object": "chat.completion",
        "created": attempt.created_at,
        "model": model,
    }
    if wanted.stream:
        with_usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        chunks = _chunks(service, request, inquiry, head, with_usage, offer, left_out)
        return StreamingResponse(chunks, media_type="text/event-stream")
    return await in_thread(request, lambda: _whole(service, inquiry, head, offer, left_out))


def _whole(
    service: Service,
    inquiry: Inquiry,
    head: dict[str, Any],
    offer: Offer | None,
    tools_ignored: bool,
) -> ChatAnswer:
    text = "".join(piece.text for piece in inquiry.pieces).strip()
    found = finished(service, inquiry)
    text, calls = (text, []) if offer is None else offer.read(text)
    message = AnswerMessage(
        content=None if calls and not text else text,
        annotations=[cited for one in found for cited in citations(one)],
        tool_calls=calls or None,
    )
    return ChatAnswer(
        **head,
        choices=[Choice(message=message, finish_reason=_finish_reason(found, bool(calls)))],
        usage=usage_of(found),
        vstream=evidence_of(found, tools_ignored),
    )


async def _chunks(
    service: Service,
    request: Request,
    inquiry: Inquiry,
    head: dict[str, Any],
    with_usage: bool,
    offer: Offer | None,
    tools_ignored: bool,
) -> AsyncIterator[str]:
    def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        body = {"object": "chat.completion.chunk", "choices": [] if delta is None else [choice]}
        return event_of({**head, **body, **more})

    try:
        yield chunk({"role": "assistant", "content": ""})
        has_called = False
        async for delta in _deltas(request, inquiry, offer):
            has_called |= "tool_calls" in delta
            yield chunk(delta)
        found = await in_thread(request, lambda: finished(service, inquiry))
        annotations = [cited.model_dump() for one in found for cited in citations(one)]
        yield chunk({"annotations": annotations})
        evidence = [one.document() for one in evidence_of(found, tools_ignored)]
        yield chunk({}, _finish_reason(found, has_called), vstream=evidence)
        if with_usage:
            yield chunk(None, usage=usage_of(found).model_dump())
    except Exception as error:  # noqa: BLE001  headers are sent: report the error in the stream
        if isinstance(error, CancelledError):
            service.metrics.finished.labels("cancelled").inc()
        yield event_of(api_error(error).body)
    finally:
        if inquiry.cancel():
            service.metrics.finished.labels("cancelled").inc()
    yield DONE


async def _deltas(
    request: Request, inquiry: Inquiry, offer: Offer | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the answer in parts: words as they come, but what may be a call; then each call."""
    whole, sent = "", 0
    while (piece := await next_piece(request, inquiry)) is not None:
        whole += piece.text
        shown = whole if offer is None else offer.settled(whole)
        if len(shown) > sent:
            yield {"content": shown[sent:]}
            sent = len(shown)
    if offer is None:
        return
    text, calls = offer.read(whole)
    if len(text) > sent:
        yield {"content": text[sent:]}
    for number, call in enumerate(calls):
        yield {"tool_calls": [{"index": number, **call.model_dump()}]}


def _finish_reason(found: list[StreamAnswer], has_called: bool) -> Any:
    if any(one.answer.truncated for one in found):
        return "length"
    return "tool_calls" if has_called else "stop"
