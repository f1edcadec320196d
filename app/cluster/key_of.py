"""key_of: find which workers answer a request: a stream's, any, all, or none but the ingress."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit


class Kind(StrEnum):
    """Which workers can answer."""

    OWNER = "owner"
    """Only the one that watches the stream."""
    FIRST = "first"
    """Preferably that one, else any other from the store."""
    ALL = "all"
    """Every worker, each for its part."""
    ANY = "any"
    HERE = "here"


_ROUTES = (
    (r"GET (/|/ui/?)|\w+ (/health|/v1/events)", Kind.HERE),
    (r"\w+ /v1/streams/probe", Kind.ANY),
    (r"\w+ /v1/streams/(?P<stream>[^/]+)/(timeline|frame.jpg|clip.webp|clip.mp4)", Kind.FIRST),
    (r"\w+ /v1/streams/(?P<stream>[^/]+)(/.*)?", Kind.OWNER),
    (r"POST /v1/(streams|alerts|watches)", Kind.OWNER),
    (r"POST /v1/(chat/completions|responses)", Kind.FIRST),
    (r"(PATCH|DELETE) (?P<alert>/v1/(alerts|watches)/[^/]+)", Kind.OWNER),
    (r"\w+ (/metrics|/v1/(streams|(alerts|watches)(/[^/]+)?|firings|firings/seen))", Kind.ALL),
    (r"\w+ /v1/(search|moments|recaps)", Kind.ALL),
)
_PATTERNS = [(re.compile(pattern), kind) for pattern, kind in _ROUTES]


@dataclass(frozen=True)
class Key:
    """Where a request goes. `alert` is the path of an alert, if only that says which stream."""

    kind: Kind
    stream_id: str | None = None
    alert: str | None = None


def key_of(method: str, path: str, document: dict[str, Any]) -> Key:
    """Return the key of a request; `document` is its body as JSON, empty if it is none."""
    for pattern, kind in _PATTERNS:
        if (match := pattern.fullmatch(f"{method} {path}")) is not None:
            found = match.groupdict()
            return Key(kind, found.get("stream") or _named(document), found.get("alert"))
    return Key(Kind.ANY)


def parsed(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; empty for anything else, which the service will refuse."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _named(document: dict[str, Any]) -> str | None:
    """Return the first stream that a body names; its worker reads the others from the store."""
    ids = document.get("stream_ids")
    names: list[Any] = [_stream_id_of(url) for url in named(document)] or [document.get("id")]
    names += ids if isinstance(ids, list) else []
    return next((one for one in names if isinstance(one, str) and one), None)


def named(document: dict[str, Any]) -> list[str]:
    """Return the URLs of the streams that a question is about, from its last message with any."""
    given = document.get("messages") or document.get("input")
    for message in reversed(given if isinstance(given, list) else []):
        if isinstance(message, dict) and (found := list(_urls(message))):
            return found
    return []


def _stream_id_of(url: str) -> str:
    """Return the id in a URL; empty for a malformed one, which the service will refuse."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return unquote(parts.netloc + parts.path.rstrip("/"))


def _urls(message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content")
    for part in content if isinstance(content, list) else []:
        video_url = part.get("video_url") if isinstance(part, dict) else None
        url = video_url.get("url") if isinstance(video_url, dict) else None
        if isinstance(url, str) and url.startswith("stream:"):
            yield url
