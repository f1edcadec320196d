"""RequestGuard: requests in, those refused that no handler should see, and all of them counted."""

from collections.abc import Sequence
from math import inf
from typing import Any
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.api_errors import ApiError, no_key
from app.server.keys import ApiKeys
from app.server.metrics import Metrics

UPLOAD_PATH = "/ui/gradio_api/upload"
"""Where the page takes videos: it has a bound of its own."""


class RequestGuard:
    """ASGI middleware in front of everything: wants a key, bounds bodies and, without keys, hosts.

    All under /v1/ takes a key, whatever route may come there; nothing is read of who has none.

    A service on loopback that asks for no key can still be reached by any web page that is open in
    a browser here, by a name that its owner lets point to this machine: so the Host must be one of
    this machine's own, and an Origin, which browsers send along, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        metrics: Metrics,
        hosts: Sequence[str] | None,
        keys: ApiKeys,
    ) -> None:
        """`hosts` are the names that a request may be sent to; None: any."""
        self._app = app
        self._most = max_body_bytes
        self._metrics = metrics
        self._keys = keys
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": str(refusal)[:120]})
            return
        status, taken = 500, 0
        most = self._most_of(scope)

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
                raise HTTPException(413, f"the body has more than {most:.0f} bytes")
            return message

        try:
            if refusal is not None:
                headers = {**refusal.headers, "Connection": "close"}
                response = JSONResponse(refusal.body, refusal.status, headers)
                await response(scope, receive, noted_send)
                return
            await self._app(scope, bounded_receive, noted_send)
        finally:
            self._metrics.saw_request(scope["method"], _route(scope), status)

    def _most_of(self, scope: Scope) -> float:
        return inf if scope["path"] == UPLOAD_PATH else self._most

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = dict(scope["headers"])  # of several the last counts, and one is enough to refuse
        length = headers.get(b"content-length", b"")
        most = self._most_of(scope)
        if length.isdigit() and int(length) > most:
            return ApiError(413, f"the body has more than {most:.0f} bytes", "body_too_large")
        if scope["path"].startswith("/v1/"):
            key = headers.get(b"authorization")
            if self._keys.check(None if key is None else key.decode("latin-1")) is None:
                return no_key()
        if self._hosts is None:
            return None
        for name in (b"host", b"origin"):
            given = headers.get(name)
            if given is not None and _host_of(given) not in self._hosts:
                return ApiError(
                    403, f"not for this {name.decode()}: use this machine's own", "host_refused"
                )
        return None


def _host_of(value: bytes) -> str:
    text = value.decode("latin-1").strip().lower()
    try:
        return urlsplit(text if "://" in text else f"//{text}").hostname or ""
    except ValueError:
        return ""


def _route(scope: Scope) -> str:
    """The route's own path, with names in place of ids: a label must not take any value."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown") if route is not None else "unknown"
