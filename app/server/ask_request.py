"""AskRequest: read the question, streams, pictures and options from the messages of a request.

A URL `stream://ID?from=...&to=...` names a stream. All other URLs are of pictures and clips, which
every question of the dialogue is about.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from app.server.api_errors import ApiError
from app.server.chat_documents import Wishes
from app.server.messages import ImagePart, InputMessage, Message, VideoPart
from app.server.time_range import QuestionSpan
from app.server.tool_calls import Offer, spelled
from encoders import Turn
from vstream.decoding.token_choice import Decoding
from vstream.service.fetched_media import IS_MEDIA

REQUEST = "(request)"
"""Takes the place of a stream's id for pictures in a request; no stream can have it."""
_MOST_TOKENS = 4096
_JSON_TOKENS = 1024
"""Default limit for JSON about pictures and for calls: clients often set none, and JSON cut short
is useless.
"""
_JPEGS = "data:video/jpeg;base64,"


@dataclass(frozen=True)
class NamedStream:
    stream_id: str
    span: QuestionSpan


@dataclass(frozen=True)
class MediaUrl:
    """A picture or clip: its name in messages, and its URL."""

    name: str
    url: str
    is_clip: bool


@dataclass(frozen=True)
class AskRequest:
    """What a request asks, about which streams, and how to answer it."""

    text: str
    system: str
    dialogue: tuple[Turn, ...]
    streams: tuple[NamedStream, ...]
    decoding: Decoding
    policy: str | None = None
    timezone: str | None = None
    plan: bool = True
    tools_ignored: bool = False
    media: tuple[MediaUrl, ...] = ()
    spans: Mapping[str, QuestionSpan] = field(default_factory=dict)
    """By stream, in place of its own where the moment of the question is pinned."""


def ask_request_of(
    messages: Sequence[Message | InputMessage],
    wishes: Wishes,
    shape: str,
    schema: dict[str, Any] | None,
    *,
    max_tokens: int | None = None,
    **decoding: Any,
) -> AskRequest:
    """`shape` is the answer's format; `json_schema` needs a `schema`. Raises ApiError if the
    messages hold no question, QuestionError for a bad option.
    """
    *said, (role, text) = _said(messages)
    if role not in ("user", "tool"):
        why = "the last message must be the user's question, or what a tool returned"
        raise ApiError(400, why, "no_question", param="messages")
    streams, media = _named(messages), _shown(messages)
    if shape == "json_schema" and schema is None:
        raise ApiError(400, "json_schema is missing", "schema_missing", param="response_format")
    if max_tokens is None and media and shape != "text":
        max_tokens = _JSON_TOKENS
    return AskRequest(
        text=text,
        system="\n".join(text for role, text in said if role in ("system", "developer")),
        dialogue=_turns(said),
        streams=streams,
        media=media,
        decoding=Decoding(
            temperature=wishes.temperature or 0.0,
            top_p=1.0 if wishes.top_p is None else wishes.top_p,
            schema=json.dumps(schema) if shape == "json_schema" else None,
            json_object=shape == "json_object",
            max_tokens=None if max_tokens is None else min(max_tokens, _MOST_TOKENS),
            **decoding,
        ),
        policy=wishes.policy,
        timezone=wishes.timezone,
        plan=wishes.plan and role == "user",
    )


def with_offer(asked: AskRequest, offer: Offer) -> AskRequest:
    """Let the model read about the tools on offer, and call them."""
    decoding = asked.decoding
    if decoding.max_tokens is None:
        decoding = replace(decoding, max_tokens=_JSON_TOKENS)
    if offer.schema:
        decoding = replace(decoding, schema=offer.schema, json_object=False)
    system = "\n\n".join(part for part in (asked.system, offer.text) if part)
    return replace(asked, system=system, decoding=decoding)


def _said(messages: Sequence[Message | InputMessage]) -> list[tuple[str, str]]:
    """Return roles and words. The results of several tools become one turn."""
    said: list[tuple[str, str]] = []
    for message in messages:
        text = _text(message)
        if isinstance(message, Message) and message.tool_calls:
            text = (text + spelled(message.tool_calls)).strip()
        if message.role == "tool":
            text = f"<tool_response>\n{text}\n</tool_response>"
            if said and said[-1][0] == "tool":
                text = f"{said.pop()[1]}\n{text}"
        said.append((message.role, text))
    return said


def _text(message: Message | InputMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    shown = VideoPart, ImagePart
    return "\n".join(part.text for part in message.content if not isinstance(part, shown))


def _named(messages: Sequence[Message | InputMessage]) -> tuple[NamedStream, ...]:
    """The streams of the last message that names any: a follow-up need not name them again."""
    for message in reversed(messages):
        parts = message.content if isinstance(message.content, list) else []
        videos = [part.video_url.url for part in parts if isinstance(part, VideoPart)]
        urls = [url for url in videos if not IS_MEDIA.match(url)]
        if urls:
            named = tuple(parse_stream_url(url) for url in urls)
            if len({one.stream_id for one in named}) < len(named):
                raise ApiError(400, "a stream is named twice", "stream_url_invalid")
            return named
    return ()


def _shown(messages: Sequence[Message | InputMessage]) -> tuple[MediaUrl, ...]:
    """Pictures and clips of all messages, in order."""
    urls: list[tuple[str, bool]] = []
    for message in messages:
        for part in message.content if isinstance(message.content, list) else []:
            if isinstance(part, ImagePart):
                urls.append((part.image_url.url, False))
            elif isinstance(part, VideoPart) and part.video_url.url.startswith(_JPEGS):
                jpegs = part.video_url.url.removeprefix(_JPEGS).split(",")
                urls += [(f"data:image/jpeg;base64,{jpeg}", False) for jpeg in jpegs]
            elif isinstance(part, VideoPart) and IS_MEDIA.match(part.video_url.url):
                urls.append((part.video_url.url, True))
    return tuple(
        MediaUrl(f"{'clip' if is_clip else 'picture'} {number}", url, is_clip)
        for number, (url, is_clip) in enumerate(urls, start=1)
    )


def _turns(said: Sequence[tuple[str, str]]) -> tuple[Turn, ...]:
    """Pair each question with the answer that followed; a tool's output counts as the user's."""
    turns: list[Turn] = []
    for role, text in said:
        if role in ("user", "tool"):
            turns.append(Turn(text, ""))
        elif role == "assistant" and turns:
            turns[-1] = replace(turns[-1], answer=text)
    return tuple(turn for turn in turns if turn.question.strip())


def parse_stream_url(url: str) -> NamedStream:
    """Raises ApiError for anything but a stream's URL."""
    with suppress(ValueError):
        parts = urlsplit(url)
        span = QuestionSpan.model_validate(dict(parse_qsl(parts.query)))
        stream_id = unquote(parts.netloc + parts.path.rstrip("/"))
        if parts.scheme == "stream" and stream_id and "/" not in stream_id:
            return NamedStream(stream_id, span)
    raise ApiError(
        400,
        f"{url[:80]!r} names no stream: write stream://ID, or e.g. stream://ID?from=-10m; "
        "POST /v1/streams adds a stream",
        "stream_url_invalid",
        param="video_url",
    )
