"""RequestGuard: requests in, those with too large a body refused, all counted and timed out."""

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.api_errors import ApiError
from app.server.metrics import Metrics


class RequestGuard:
    """ASGI middleware in front of everything."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, metrics: Metrics) -> None:
        self._app = app
        self._most = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        taken = 0

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def bounded_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise self._too_large()
            return message

        try:
            if _declared_length(scope) > self._most:
                await _refuse(self._too_large(), noted_send)
                return
            await self._app(scope, bounded_receive, noted_send)
        finally:
            self._metrics.saw_request(scope["method"], _route(scope), status)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body has more than {self._most} bytes", "body_too_large")


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _route(scope: Scope) -> str:
    """The route's own path, with names in place of ids: a label must not take any value."""
    route: Any = scope.get("route")
    return getattr(route, "path", "unknown") if route is not None else "unknown"


async def _refuse(error: ApiError, send: Any) -> None:
    body = json.dumps(error.body).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    start = {"type": "http.response.start", "status": error.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
