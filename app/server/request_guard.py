"""Guards: count all requests, bound their bodies, and refuse those without a key."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from math import inf
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.api_errors import ApiError, api_error, no_key, refuse
from app.server.keys import ApiKeys
from app.server.settings import ServiceConfig
from vstream.device.shares import Shares
from vstream.errors import BusyError

UPLOAD_PATH = "/ui/gradio_api/upload"
"""The page uploads videos here, within a limit of its own."""
ASKING_PATHS = ("/v1/chat/completions", "/v1/responses")
_OPENAI = re.compile(r"/(chat/completions$|(models|responses)(/|$))")


class RequestGuard:
    """ASGI middleware in front of everything."""

    def __init__(
        self, app: ASGIApp, limits: ServiceConfig, saw_request: Callable[[str, str, int], None]
    ) -> None:
        """`saw_request` is called for each request with method, route and response status."""
        self._app = app
        self._most = limits.max_body_bytes
        self._most_asking = max(limits.request_bytes, limits.max_body_bytes)
        self._large = Shares(limits.request_media, "large questions are being answered")
        self._saw_request = saw_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, taken = 500, 0
        if _OPENAI.match(scope["path"]):  # a client whose base URL lacks /v1
            scope["path"] = f"/v1{scope['path']}"
        length = dict(scope["headers"]).get(b"content-length", b"")
        declared = int(length) if length.isdigit() else 0
        most: float = inf if scope["path"] == UPLOAD_PATH else self._most
        is_large = declared > most and scope["path"] in ASKING_PATHS
        if is_large:  # it may have pictures
            most = self._most_asking

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
            if declared > most:
                raise ApiError(413, _too_large(most), "body_too_large")
            with self._large.held(None) if is_large else nullcontext():
                await self._app(scope, bounded_receive, noted_send)
        except (ApiError, BusyError) as refusal:
            await refuse(api_error(refusal), scope, receive, noted_send)
        finally:
            self._saw_request(scope["method"], _route(scope), status)


def _too_large(most: float) -> str:
    return f"the body has more than {most:.0f} bytes"


def _route(scope: Scope) -> str:
    """The route's path template: with ids in it, a label would have too many values."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown") if route is not None else "unknown"


class KeyGuard:
    """ASGI middleware: require a key for everything under /v1/, including future routes."""

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
