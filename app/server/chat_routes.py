"""/v1/chat/completions: a question about streams in, an answer with its citations out."""

import secrets
import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from app.server.access import CallerHere, ServiceHere
from app.server.api_errors import api_error
from app.server.ask_request import ask_request_of
from app.server.asking import AskerHere, begin, finished, in_thread, next_piece, require_model
from app.server.chat_documents import AnswerMessage, ChatAnswer, ChatRequest, Choice
from app.server.documents import citations
from app.server.evidence import evidence_of, usage_of
from app.server.service import Service
from app.server.sse import DONE, EVENT_STREAM, event_of
from vstream.service.inquiry import Inquiry, StreamAnswer

router = APIRouter(prefix="/v1", tags=["questions"])


@router.post(
    "/chat/completions",
    summary="Ask",
    response_model=ChatAnswer,
    responses={
        200: {
            "content": EVENT_STREAM,
            "description": "The answer, whole or, with `stream`, piece by piece.",
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
    """Ask about one or several streams. Every moment used is a `video_citation` annotation."""
    model = require_model(service, wanted.model)
    ask_request = ask_request_of(wanted)
    inquiry = await in_thread(request, lambda: begin(service, caller, asker, ask_request))
    about = _About(model)
    if wanted.stream:
        with_usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        chunks = _chunks(service, request, inquiry, about, with_usage)
        return StreamingResponse(chunks, media_type="text/event-stream")
    return await in_thread(request, lambda: _whole(service, inquiry, about))


class _About:
    """What all chunks of one answer begin with."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.model = model

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> str:
        return event_of(
            {
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
                "choices": choices,
                **more,
            }
        )


def _whole(service: Service, inquiry: Inquiry, about: _About) -> ChatAnswer:
    text = "".join(piece.text for piece in inquiry.pieces)
    found = finished(service, inquiry)
    message = AnswerMessage(
        content=text.strip(), annotations=[cited for one in found for cited in citations(one)]
    )
    return ChatAnswer(
        id=about.id,
        created=about.created,
        model=about.model,
        choices=[Choice(message=message, finish_reason=_finish_reason(found))],
        usage=usage_of(found),
        vstream=evidence_of(found),
    )


async def _chunks(
    service: Service, request: Request, inquiry: Inquiry, about: _About, with_usage: bool
) -> AsyncIterator[str]:
    def choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": finish}]

    try:
        yield about.chunk(choice({"role": "assistant", "content": ""}))
        while (piece := await next_piece(request, inquiry)) is not None:
            yield about.chunk(choice({"content": piece.text}))
        found = finished(service, inquiry)
        annotations = [cited.model_dump() for one in found for cited in citations(one)]
        yield about.chunk(choice({"annotations": annotations}))
        evidence = [one.document() for one in evidence_of(found)]
        yield about.chunk(choice({}, _finish_reason(found)), vstream=evidence)
        if with_usage:
            yield about.chunk([], usage=usage_of(found).model_dump())
    except Exception as error:  # noqa: BLE001  the headers are gone: it is told in the stream
        if isinstance(error, CancelledError):
            service.metrics.cancelled()
        yield event_of(api_error(error).body)
    finally:
        if inquiry.cancel():
            service.metrics.cancelled()
    yield DONE


def _finish_reason(found: list[StreamAnswer]) -> Any:
    return "length" if any(one.answer.truncated for one in found) else "stop"
