"""KeyGuard: requests in, those to the API without a good key refused before anything is read."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.api_errors import no_key, refuse
from app.server.keys import ApiKeys


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
