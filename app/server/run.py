"""run: serve the application over HTTP until a signal, then finish running answers.

SIGTERM and SIGINT drain the service: it refuses new questions with 503, ends event streams, and
lets running answers go on for `grace_s` or until a second signal; then it marks them as cut off.
It flushes all blocks and exits with code 0.
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
"""Time for the rest of the shutdown once running answers have been cut off."""
_LOOK_S = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    service: Service,
    on_listening: Callable[[str], None] = lambda url: None,
    with_page: Callable[[FastAPI, str], FastAPI] = lambda app, url: app,
) -> None:
    """Serve until SIGTERM or SIGINT. Calls `on_listening` with the URL; `with_page` adds a page to
    the application, given the URL at which this process reaches it.

    Raises SettingsError if it cannot listen on the address, and ModelError or StoreError if the
    service could not start.
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
    """Configure uvicorn; `app` is the service's application, with anything added to it."""
    settings = service.settings.service
    return bounded_config(
        app or create_app(service),
        bounds or ConnectionBounds(),
        ws_max_size=settings.max_body_bytes,
        timeout_graceful_shutdown=round(settings.grace_s + _LEFT_S),
    )


class _Server(uvicorn.Server):
    """Counts signals in the handler, which may interrupt anything, and acts on them in its loop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._num_signals = 0
        self._cut_at = inf
        service.on_failed = self._give_up

    @contextmanager
    def heeding_signals(self) -> Iterator[None]:
        """Handle signals even before the loop runs: `on_listening` may lead to one at once."""
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
        """The first signal drains, the second cuts answers off, the third exits at once."""
        self._num_signals += 1
        self.force_exit = self._num_signals > 2

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening. Keeps on while answers run, so that others get a 503."""
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
        """Cut running answers off once their time is up; return whether it is."""
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
    """The host under which this machine reaches a service that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, in_url(host))
