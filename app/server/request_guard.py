"""Guards: all requests are counted, their bodies bounded, and those without a key refused."""

from collections.abc import Callable
from math import inf
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.api_errors import ApiError, no_key, refuse
from app.server.keys import ApiKeys

UPLOAD_PATH = "/ui/gradio_api/upload"
"""Where the page takes videos: it has a bound of its own."""


class RequestGuard:
    """ASGI middleware in front of everything."""

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, saw_request: Callable[[str, str, int], None]
    ) -> None:
        """`saw_request` is told of each: its method, its route, the status of its answer."""
        self._app = app
        self._most = max_body_bytes
        self._saw_request = saw_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, taken = 500, 0
        most = inf if scope["path"] == UPLOAD_PATH else self._most

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def bounded_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, _too_large(most))
            return message

        try:
            length = dict(scope["headers"]).get(b"content-length", b"")
            if length.isdigit() and int(length) > most:
                refusal = ApiError(413, _too_large(most), "body_too_large")
                await refuse(refusal, scope, receive, noted_send)
            else:
                await self._app(scope, bounded_receive, noted_send)
        finally:
            self._saw_request(scope["method"], _route(scope), status)


def _too_large(most: float) -> str:
    return f"the body has more than {most:.0f} bytes"


def _route(scope: Scope) -> str:
    """The route's own path, with names in place of ids: a label must not take any value."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown") if route is not None else "unknown"


class KeyGuard:
    """ASGI middleware: all under /v1/ takes a key, whatever route may come there."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"].startswith("/v1/"):
            key = dict(scope["headers"]).get(b"authorization")
            if self._keys.check(None if key is None else key.decode("latin-1")) is None:
                await refuse(no_key(), scope, receive, send)
                return
        await self._app(scope, receive, send)
