"""run: an application in, HTTP on its address until a signal; what was asked is answered first.

SIGTERM and SIGINT drain: no new questions, streams of events end, running answers go on for
`grace_s`, then are marked as cut off; blocks are flushed, and the exit code is 0.
"""

import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.server.application import create_app
from app.server.service import Phase, Service
from vstream.errors import SettingsError

_LEFT_S = 5.0
"""For what is left once running answers have been cut off."""


def run(service: Service, on_listening: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGTERM or SIGINT; `on_listening` is told the address.

    Raises SettingsError for an address that cannot be listened on, and what kept the service from
    beginning (ModelError, StoreError).
    """
    settings = service.settings.service
    listening = listen_on(settings.host, settings.port)
    server = _Server(server_config(service), service)
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    on_listening(f"http://{host}:{port}")
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
    if service.failure is not None:
        raise service.failure


def server_config(service: Service) -> uvicorn.Config:
    """How the service is served."""
    settings = service.settings.service
    return uvicorn.Config(
        create_app(service),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=round(settings.grace_s + _LEFT_S),
        ws_max_size=settings.max_body_bytes,
        h11_max_incomplete_event_size=64 << 10,
        server_header=False,
        limit_concurrency=None,
    )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        service.on_failed = self._give_up

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal drains, a second one ends at once."""
        if not self.should_exit and self._service.phase is not Phase.DRAINING:
            self._service.drain()
            cut = threading.Timer(self._service.settings.service.grace_s, self._service.cut_off)
            cut.daemon = True
            cut.start()
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # the process ends well: it is not killed by the signal

    def _give_up(self) -> None:
        self.should_exit = True


def listen_on(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; is another service there? "
            "--port chooses another"
        ) from error
    return listening
