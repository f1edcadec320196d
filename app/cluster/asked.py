"""What the body of a question names: its streams, as parts of a JSON document to be changed."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit


def named(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The `video_url` of each stream that a question is about: of its last message with any."""
    for message in reversed(_messages(document)):
        if found := list(_video_urls(message)):
            return found
    return []


def is_sound(document: dict[str, Any]) -> bool:
    """Whether its parts are texts; of others the service says what is wrong with them."""
    if isinstance(document.get("input"), str):
        return True
    contents = [message.get("content") for message in _messages(document)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return bool(contents) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts
    )


def name(document: dict[str, Any], stream_id: str) -> None:
    """Ask about this stream, where the question names none."""
    if isinstance(document.get("input"), str):
        document["input"] = [{"type": "message", "role": "user", "content": document["input"]}]
    if messages := _messages(document):
        content = messages[-1].get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, list):
            return  # the service says what is wrong with it
        part = {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}}
        messages[-1]["content"] = [*content, part]


def stream_id_of(video_url: dict[str, Any]) -> str:
    parts = urlsplit(str(video_url["url"]))
    return unquote(parts.netloc + parts.path.rstrip("/"))


def _messages(document: dict[str, Any]) -> list[dict[str, Any]]:
    given = document.get("messages") or document.get("input")
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _video_urls(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    content = message.get("content")
    for part in content if isinstance(content, list) else []:
        video_url = part.get("video_url") if isinstance(part, dict) else None
        if isinstance(video_url, dict) and str(video_url.get("url")).startswith("stream:"):
            yield video_url
