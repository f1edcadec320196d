"""Request our own application over ASGI, with the key of the client that a connection is from."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
from starlette.types import ASGIApp, Message, Scope

from app.server.api_errors import ApiError

_FROM_CLIENT = (b"host", b"authorization", b"user-agent", b"traceparent", b"tracestate")
_MESSAGES = 16
"""How many messages may wait for who reads them."""


async def answered(
    app: ASGIApp, connection: Scope, path: str, document: Any = None
) -> dict[str, Any]:
    """Return the JSON answer to a POST of `document`, or of JPEG bytes; None: to a GET. Raises
    ApiError as the application refused it.
    """
    async with aclosing(_body(app, connection, path, document)) as pieces:
        answer: dict[str, Any] = json.loads(b"".join([piece async for piece in pieces]))
    return answer


async def events(
    app: ASGIApp, connection: Scope, path: str, document: Any
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the JSON of each server-sent event that answers a POST. Raises ApiError."""
    rest = b""
    async with aclosing(_body(app, connection, path, document)) as pieces:
        async for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n\n")
            for event in whole:
                yield json.loads(event.partition(b"data: ")[2])


async def _body(
    app: ASGIApp, connection: Scope, path: str, document: Any
) -> AsyncGenerator[bytes, None]:
    is_jpeg = isinstance(document, bytes)
    body = document if is_jpeg else b"" if document is None else json.dumps(document).encode()
    kind = b"image/jpeg" if is_jpeg else b"application/json"
    headers = [one for one in connection["headers"] if one[0] in _FROM_CLIENT]
    scope = {
        **{name: connection.get(name) for name in ("asgi", "client", "server", "root_path")},
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "query_string": b"",
        "method": "GET" if document is None else "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [
            *headers,
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
        ],
    }
    status = 0
    async with aclosing(messages_of(app, scope, body)) as messages:
        async for message in messages:
            status = message.get("status", status)
            piece = message.get("body", b"")
            if status >= 400:
                _refuse(status, piece + b"".join([one.get("body", b"") async for one in messages]))
            yield piece


async def messages_of(app: ASGIApp, scope: Scope, body: bytes) -> AsyncGenerator[Message, None]:
    """Yield what the application answers to a request, as it comes. To stop reading is to
    hang up.
    """
    requests: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sending, coming = anyio.create_memory_object_stream[Message](_MESSAGES)
    gone = asyncio.Event()

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if not gone.is_set():
            await sending.send(message)

    async def answer() -> None:
        async with sending:
            await app(scope, receive, send)

    answering = asyncio.ensure_future(answer())
    async with coming:
        try:
            async for message in coming:
                yield message
            await answering
        finally:
            gone.set()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


def _refuse(status: int, body: bytes) -> None:
    detail = json.loads(body)["error"]
    raise ApiError(status, detail["message"], detail["code"], param=detail["param"])
