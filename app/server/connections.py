"""bounded_protocol: uvicorn's HTTP protocol, with limits on connections.

uvicorn itself waits forever for a request's first byte and for the rest of it. Like Apache's
mod_reqtimeout, we limit the time for a header, and for a body the time and then its rate. If there
are too many connections, we close the one that has been silent longest among those that wait for a
request or for the rest of one; if there is none, we refuse the new request.
"""

import asyncio
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from vstream.errors import SettingsError

_ALWAYS_ANSWERED = (b"/health", b"/ready", b"/metrics")


@dataclass(frozen=True)
class ConnectionBounds:
    """Limits of one server."""

    most: int = 1000
    """Most connections at a time, including WebSockets and event streams."""
    header_s: float = 10.0
    """Time for a request's header to arrive, from connecting or from its first byte on."""
    header_bytes: int = 64 << 10
    """Largest header that arrives in several parts."""
    body_s: float = 60.0
    """Time for a body to arrive, plus a second for every `body_bytes_per_s` received."""
    body_bytes_per_s: int = 16 << 10


def bounded_config(
    app: ASGIApp,
    bounds: ConnectionBounds,
    *,
    timeout_graceful_shutdown: int,
    ws_max_size: int = 1 << 20,
) -> uvicorn.Config:
    """Configure uvicorn to serve `app` within `bounds`. Its options are in seconds and bytes."""
    return uvicorn.Config(
        app,
        http=bounded_protocol(bounds),
        limit_concurrency=bounds.most + 1,  # uvicorn refuses from this many on
        timeout_graceful_shutdown=timeout_graceful_shutdown,
        ws_max_size=ws_max_size,
        log_config=None,
        access_log=False,
        server_header=False,
    )


def allow_descriptors(bounds: ConnectionBounds) -> None:
    """Raise the limit on open files, if it is lower, to two per connection: as many again as the
    connections need, for everything else.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * bounds.most
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bounded_protocol(its_bounds: ConnectionBounds) -> type[asyncio.Protocol]:
    """Make the protocol class of one server; its connections share a list."""

    class Bounded(_BoundedProtocol):
        bounds = its_bounds
        waiting: ClassVar[dict[_BoundedProtocol, None]] = {}

    return Bounded


class _BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    bounds: ClassVar[ConnectionBounds]
    waiting: ClassVar[dict["_BoundedProtocol", None]]
    """Connections that wait for a request or the rest of one; the one silent longest is first."""
    _due: asyncio.TimerHandle | None = None
    """The deadline for what the client must send next."""
    _is_in_header = True
    _header_bytes = 0
    _body_since_s = 0.0
    _body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._is_one_too_many() and self.waiting:
            silent = next(iter(self.waiting))
            del self.waiting[silent]
            self.connections.discard(silent)  # connection_lost comes only later
            silent.transport.close()
        self.waiting[self] = None
        self._arm(self.bounds.header_s, self._cut)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self.waiting:
            del self.waiting[self]
            self.waiting[self] = None
        was_in_header = self._is_in_header
        super().data_received(data)
        if self in self.waiting and self._due is None:  # e.g. after an empty line between requests
            self._arm(self.bounds.header_s, self._cut)
        goes_on = was_in_header and self._is_in_header
        self._header_bytes = self._header_bytes + len(data) if goes_on else 0
        if self._header_bytes > self.bounds.header_bytes:
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_header = True
        if self._due is None:
            self._arm(self.bounds.header_s, self._cut)

    def on_headers_complete(self) -> None:
        self._is_in_header = False
        self._body_since_s, self._body_bytes = self.loop.time(), 0
        self._arm(self.bounds.body_s, self._look_at_body)
        is_refused = self.url.partition(b"?")[0] not in _ALWAYS_ANSWERED
        self.limit_concurrency = self.config.limit_concurrency if is_refused else None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._disarm()
        self.waiting.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self.waiting[self] = None

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        self.waiting.pop(self, None)
        if self._is_one_too_many():
            self._refuse(503)
        else:
            super().handle_websocket_upgrade()

    def _is_one_too_many(self) -> bool:
        return len(self.connections) > self.bounds.most

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._due = self.loop.call_later(seconds, then)

    def _disarm(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _look_at_body(self) -> None:
        if self.flow.read_paused:  # we are the ones not reading
            self._body_since_s, self._body_bytes = self.loop.time(), 0
        allowed_s = self.bounds.body_s + self._body_bytes / self.bounds.body_bytes_per_s
        left_s = self._body_since_s + allowed_s - self.loop.time()
        if left_s > 0:
            self._arm(left_s, self._look_at_body)
        else:
            self._cut()

    def _cut(self) -> None:
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Send `status`, unless a response has already started, and close the connection."""
        self._disarm()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            end = b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + end)
        self.transport.close()


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listen_on(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """`shared` with other processes that share it: each connection goes to one of them. Raises
    SettingsError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; is another service running there? "
            "Choose another port with --port"
        ) from error
    return listening
