"""OriginGuard: refuse requests from other sites' pages, and requests to names that are not ours.

A browser lets any open page send requests anywhere, with the user's cookies for that host; the
Origin header says which page sent it. Our own page comes from the host that it sends requests to,
so Origin must match Host. A proxy must therefore pass Host on.

Without a key, a service on loopback is open to DNS rebinding: a page can reach it under any name
that its owner points to this machine. So Host must then be one of this machine's own names.
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
    """The origin of a page; the port is explicit even if its URL leaves it out."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for anything but a web page, e.g. `null`, `file://` and browser extensions."""
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
        """Write it as browsers do."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def is_at(self, host: str) -> bool:
        """Whether requests to the origin's own server have `host` as their Host."""
        return self == Origin.parse(f"{self.scheme}://{host}")


class OriginGuard:
    """ASGI middleware. Lets through our own page, and clients that send no Origin (not browsers).

    Pages of `allowed` origins pass too, but without cookies: they must use a key. Cookies are set
    SameSite=Lax, so that browsers do not send them with other sites' requests.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] | None, allowed: Iterable[Origin] = ()
    ) -> None:
        """`hosts` are the names that requests may be addressed to; None allows any."""
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
            why = "wrong host: use this machine's own name, e.g. localhost"
            await refuse(ApiError(403, why, "host_refused"), scope, receive, send)
        elif said is not None and not is_allowed and not _is_own(origin, host, scope["scheme"]):
            why = "refused to a page of another host or port: add it to service.allow_origins"
            await refuse(ApiError(403, why, "host_refused"), scope, receive, send)
        else:
            if is_allowed:
                scope["headers"] = [one for one in scope["headers"] if one[0] != b"cookie"]
            await self._app(scope, receive, self._guarded(send))

    def _guarded(self, send: Send) -> Send:
        """Say who may frame the page, since browsers send no Origin when they frame one."""

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
    """The names that requests may be addressed to; None (any) if a key is needed or with
    `insecure`.
    """
    if not keys.is_open or insecure:
        return None
    return ["localhost", "127.0.0.1", "::1", host.lower()]


def _is_own(origin: Origin | None, host: str | None, scheme: str) -> bool:
    """`scheme` is the request's; it may be http behind a proxy that terminates TLS."""
    if origin is None or host is None:
        return False
    return origin.is_at(host) and not (scheme in ("https", "wss") and origin.scheme == "http")


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host.strip().lower()}").hostname or ""
    except ValueError:
        return ""
