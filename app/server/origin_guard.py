"""OriginGuard: requests in, those of foreign pages refused, and those to names that are not ours.

A browser lets any page that is open in it send requests anywhere, with the cookies of the person
logged in there; with each it says in Origin which page that was. The own page comes from the very
host that it asks. So Origin is compared with Host, which a proxy must therefore pass on.

A service on loopback that asks for no key can be reached by a page under any name whose owner lets
it point to this machine: so there the Host must be one of this machine's own, too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server.api_errors import ApiError, refuse
from app.server.keys import ApiKeys

_SAME_SITE_NONE = re.compile(rb"samesite=none", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """Where a page comes from, with the port that its address may leave out."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what is no page of the web, as `null`, `file://` and those of extensions."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            return None
        is_whole = text.lower() == f"{parts.scheme}://{parts.netloc}".lower()
        if not is_whole or "@" in text or parts.scheme not in _PORTS or not parts.hostname:
            return None
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        """As browsers write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def is_at(self, host: str) -> bool:
        """Whether its requests to its own server have `host` as their Host."""
        return self == Origin.parse(f"{self.scheme}://{host}")


class OriginGuard:
    """ASGI middleware: the own page passes, and what is no browser, which says no Origin.

    Pages of `allowed` pass without their cookies: they are to have a key. A cookie that is set is
    SameSite=Lax, so that browsers keep it back where another site's page asks.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] | None, allowed: Iterable[Origin] = ()
    ) -> None:
        """`hosts` are the names that a request may be sent to; None: any."""
        self._app = app
        self._hosts = None if hosts is None else frozenset(hosts)
        self._allowed = frozenset(allowed)
        framers = " ".join(["'self'", *sorted(map(str, self._allowed))])
        self._framing = (b"content-security-policy", f"frame-ancestors {framers}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, said = headers.get(b"host"), headers.get(b"origin")
        origin = None if said is None else Origin.parse(said)
        is_allowed = origin in self._allowed
        if self._hosts is not None and host is not None and _name_of(host) not in self._hosts:
            why = "not for this host: use this machine's own"
            await refuse(ApiError(403, why, "host_refused"), scope, receive, send)
        elif said is not None and not is_allowed and not _is_own(origin, host, scope["scheme"]):
            why = "not for pages of another host or port: service.allow_origins names exceptions"
            await refuse(ApiError(403, why, "host_refused"), scope, receive, send)
        else:
            if is_allowed:
                scope["headers"] = [one for one in scope["headers"] if one[0] != b"cookie"]
            await self._app(scope, receive, self._guarded(send))

    def _guarded(self, send: Send) -> Send:
        """Browsers send no Origin for a page that is framed, so they are told who may frame it."""

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, _SAME_SITE_NONE.sub(b"SameSite=lax", value))
                    if name.lower() == b"set-cookie"
                    else (name, value)
                    for name, value in message.get("headers", ())
                ]
                message = {**message, "headers": [*headers, self._framing]}
            await send(message)

        return guarded_send


def own_hosts(host: str, keys: ApiKeys, insecure: bool) -> list[str] | None:
    """Under which names what listens on `host` may be asked; any where a key is needed or safety
    waived.
    """
    if not keys.is_open or insecure:
        return None
    return ["localhost", "127.0.0.1", "::1", host.lower()]


def _is_own(origin: Origin | None, host: str | None, scheme: str) -> bool:
    """`scheme` is the request's, which may be http though a proxy ends TLS in front of us."""
    if origin is None or host is None:
        return False
    return origin.is_at(host) and not (scheme in ("https", "wss") and origin.scheme == "http")


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host.strip().lower()}").hostname or ""
    except ValueError:
        return ""
