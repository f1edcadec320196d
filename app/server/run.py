"""run: an application in, HTTP on its address until a signal; what was asked is answered first.

SIGTERM and SIGINT drain: new questions are refused with 503, streams of events end, running answers
go on for `grace_s` or until a second signal, then are marked as cut off; blocks are flushed, and
the exit code is 0.
"""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, inf
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.server.application import create_app
from app.server.connections import (
    ConnectionBounds,
    allow_descriptors,
    bounded_config,
    in_url,
    listen_on,
)
from app.server.service import Service

_LEFT_S = 5.0
"""For what is left once running answers have been cut off."""
_LOOK_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    service: Service,
    on_listening: Callable[[str], None] = lambda url: None,
    with_page: Callable[[FastAPI, str], FastAPI] = lambda app, url: app,
) -> None:
    """Serve until SIGTERM or SIGINT; `on_listening` is told the address. `with_page` adds a page to
    the application, given the address under which this process reaches it.

    Raises SettingsError for an address that cannot be listened on, and what kept the service from
    beginning (ModelError, StoreError).
    """
    settings = service.settings.service
    listening = listen_on(settings.host, settings.port)
    port = listening.getsockname()[1]
    app = with_page(create_app(service), f"http://{_reached_at(settings.host)}:{port}")
    allow_descriptors(ConnectionBounds())
    server = _Server(server_config(service, app), service)
    try:
        with server.heeding_signals():
            on_listening(f"http://{in_url(settings.host)}:{port}")
            server.run(sockets=[listening])
    finally:
        listening.close()
    if service.failure is not None:
        raise service.failure


def server_config(
    service: Service, app: FastAPI | None = None, bounds: ConnectionBounds | None = None
) -> uvicorn.Config:
    """How the service is served; `app` is its application with whatever was added to it."""
    settings = service.settings.service
    return bounded_config(
        app or create_app(service),
        bounds or ConnectionBounds(),
        ws_max_size=settings.max_body_bytes,
        timeout_graceful_shutdown=round(settings.grace_s + _LEFT_S),
    )


class _Server(uvicorn.Server):
    """Signals are counted as they come, which may be in the midst of anything, and heeded by the
    server's own loop.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._num_signals = 0
        self._cut_at = inf
        service.on_failed = self._give_up

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Also before its loop runs: one who is told the address may end it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal drains, a second one cuts answers off, a third one waits for nothing."""
        self._num_signals += 1
        self.force_exit = self._num_signals > 2

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening: not while answers go on, so that others hear a 503."""
        failed = await super().on_tick(counter)
        if self._num_signals:
            self._drain()
        is_idle = self._num_signals > 0 and not self._service.answering.num
        return failed or is_idle or self._is_cut_off()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain()
        self.config.timeout_graceful_shutdown = ceil(self._left_s + _LEFT_S)
        cutting = asyncio.create_task(self._cut_off_in_time())
        await super().shutdown(sockets)
        cutting.cancel()

    def _drain(self) -> None:
        if self._cut_at == inf:
            self._cut_at = time.monotonic() + self._service.settings.service.grace_s
            self._service.drain()

    @property
    def _left_s(self) -> float:
        return 0.0 if self._num_signals > 1 else max(0.0, self._cut_at - time.monotonic())

    def _is_cut_off(self) -> bool:
        """Whether running answers have had their time; then they end."""
        if self._left_s > 0:
            return False
        self._service.cut_off()
        return True

    async def _cut_off_in_time(self) -> None:
        while not self._is_cut_off():
            await asyncio.sleep(_LOOK_S)

    def _give_up(self) -> None:
        self.should_exit = True


def _reached_at(host: str) -> str:
    """How this machine reaches a service that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, in_url(host))
