"""AskRequest: the messages of a request in, its question, streams and wishes out.

A stream is named by an address, as `stream://ID?from=...&to=...`.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from app.server.api_errors import ApiError
from app.server.chat_documents import ChatRequest, Message, TextPart, VideoPart
from encoders import Turn
from vstream.decoding.token_choice import Decoding

_WHEN = "RFC 3339, seconds since the epoch, or relative, as `-10m`."


class TimeRange(BaseModel):
    """A stretch by the clock (`from`, `to`) or of stream time (`from_s`, `to_s`)."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    from_: str | None = Field(None, alias="from", max_length=64, description=_WHEN)
    to: str | None = Field(None, max_length=64, description=_WHEN)
    from_s: float | None = Field(None, ge=0, le=1e10, description="Seconds of stream time.")
    to_s: float | None = Field(None, ge=0, le=1e10, description="Seconds of stream time.")

    @property
    def is_open(self) -> bool:
        return self == TimeRange()


@dataclass(frozen=True)
class NamedStream:
    stream_id: str
    span: TimeRange


@dataclass(frozen=True)
class AskRequest:
    """What a request asks, of which streams, and how it is to be answered."""

    text: str
    system: str
    dialogue: tuple[Turn, ...]
    streams: tuple[NamedStream, ...]
    decoding: Decoding
    policy: str | None = None


def ask_request_of(request: ChatRequest) -> AskRequest:
    """Raises ApiError where the messages ask nothing, QuestionError for a bad wish."""
    *before, last = request.messages
    if last.role != "user":
        raise ApiError(
            400, "the last message must be the user's question", "no_question", param="messages"
        )
    said = [(message.role, _text(message)) for message in before]
    return AskRequest(
        text=_text(last),
        system="\n".join(text for role, text in said if role in ("system", "developer")),
        dialogue=_turns(said),
        streams=_named(request.messages),
        decoding=_decoding(request),
        policy=request.policy,
    )


def _text(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def _named(messages: Sequence[Message]) -> tuple[NamedStream, ...]:
    """The streams of the last message that names any: a follow-up need not name them again."""
    for message in reversed(messages):
        parts = message.content if isinstance(message.content, list) else []
        urls = [part.video_url.url for part in parts if isinstance(part, VideoPart)]
        if urls:
            named = tuple(parse_stream_url(url) for url in urls)
            if len({one.stream_id for one in named}) < len(named):
                raise ApiError(400, "a stream is named twice", "stream_url_invalid")
            return named
    return ()


def _turns(said: Sequence[tuple[str, str]]) -> tuple[Turn, ...]:
    """Questions with the answers that followed them."""
    turns: list[Turn] = []
    for role, text in said:
        if role == "user":
            turns.append(Turn(text, ""))
        elif role == "assistant" and turns:
            turns[-1] = replace(turns[-1], answer=text)
    return tuple(turn for turn in turns if turn.question.strip())


def _decoding(request: ChatRequest) -> Decoding:
    wanted = request.response_format
    schema = None
    if wanted is not None and wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise ApiError(400, "json_schema is missing", "schema_missing", param="response_format")
        schema = json.dumps(wanted.json_schema.schema_)
    stop = request.stop or ()
    return Decoding(
        max_tokens=request.max_completion_tokens or request.max_tokens,
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=request.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        schema=schema,
        json_object=wanted is not None and wanted.type == "json_object",
    )


def parse_stream_url(url: str) -> NamedStream:
    """Raises ApiError for anything but a stream's address."""
    with suppress(ValueError):
        parts = urlsplit(url)
        span = TimeRange.model_validate(dict(parse_qsl(parts.query)))
        stream_id = unquote(parts.netloc + parts.path.rstrip("/"))
        if parts.scheme == "stream" and stream_id and "/" not in stream_id:
            return NamedStream(stream_id, span)
    raise ApiError(
        400,
        f"{url[:80]!r} is no stream: name one that is watched, as stream://ID or "
        "stream://ID?from=-10m; POST /v1/streams begins to watch a source",
        "stream_url_invalid",
        param="video_url",
    )
