"""The processes that decode: what runs in them, and the one that they are forked from.

Video comes from strangers, and decoders are large programs in C. So each source is decoded in a
process of its own: one that crashes, hangs or eats memory costs that source and nothing else. All
are forked from one process that has imported what decoding needs and does nothing else, which takes
milliseconds. A child ends when its parent closes the connection or dies. It is no sandbox: a child
may do all that its parent may. But the parent takes nothing from it but JSON and pixels.
"""

import importlib
import json
import mmap
import os
import queue
import resource
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import structlog

from memory.locks import Rank, ranked_lock
from vstream.errors import SourceError

MAX_BYTES = 4 << 30
"""Address space of a child, beside the shared memory. Beyond it FFmpeg and numpy fail for want of
memory.
"""
_RUN = "vstream.sources.source_process"
"""The module of all functions that children run."""


class Link:
    """A child's end of the connection to its parent. Its methods may be called by any thread."""

    def __init__(self, connection: "Connection[Any, Any]", memory: mmap.mmap) -> None:
        self.memory = memory
        """Shared with the parent."""
        self.free: queue.SimpleQueue[int] = queue.SimpleQueue()
        """Numbers of the frames in `memory` that may be written over."""
        self.on_close: Callable[[], None] = self._leave
        self._connection = connection
        self._sending = ranked_lock(Rank.DECODERS)
        self._answers: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def send(self, kind: str, *values: object) -> None:
        """Send what JSON can hold; anything else as text."""
        message = json.dumps((kind, *values), default=str).encode()
        with self._sending:
            self._connection.send_bytes(message)

    def permit(self) -> None:
        """Ask the parent whether the source may be reached. Raises SourceError."""
        self.send("permit")
        if (refusal := self._answers.get()) is not None:
            raise SourceError(*refusal)

    def listen(self) -> None:
        """Hear the parent out, in a thread of its own; end with it."""
        hearing: dict[str, Callable[[Any], None]]
        hearing = {"free": self.free.put, "permitted": self._answers.put}
        try:
            while True:
                kind, *values = self._connection.recv()
                if kind == "close":
                    self.on_close()
                else:
                    hearing[kind](*values)
        except (EOFError, OSError):
            self._leave()

    def log(self, logger: object, level: str, event: Any) -> str:
        """Have the parent write a line of the log: a processor of structlog."""
        self.send("log", level, event)
        raise structlog.DropEvent

    @staticmethod
    def _leave() -> None:
        os._exit(0)


def run_child(connection: "Connection[Any, Any]", memory: int) -> None:
    """Call the function that the parent sends first, and send back what it returns or raises."""
    shared = mmap.mmap(memory, 0)
    most = MAX_BYTES + len(shared)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    link = Link(connection, shared)
    structlog.configure(processors=[link.log], cache_logger_on_first_use=False)
    folder, function, *given = connection.recv()
    os.chdir(folder)  # that of the parent now, for paths that begin there
    threading.Thread(target=link.listen, daemon=True).start()
    try:
        link.send("returned", function(link, *given))
    except SourceError as error:
        link.send("refused", str(error), error.code)
    except Exception as error:  # noqa: BLE001  the parent raises another
        link.send("failed", repr(error))


def main(control: int) -> None:
    """Fork a child for each request: two descriptors, its connection and shared memory. Answer with
    a descriptor of its process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for children
    importlib.import_module(_RUN)
    requests = socket.socket(fileno=control)
    while True:
        _, given, _, _ = socket.recv_fds(requests, 1, 2)
        if not given:
            return
        if (pid := os.fork()) == 0:
            requests.close()
            try:
                run_child(Connection(given[0]), given[1])
            finally:
                os._exit(0)
        for one in given:
            os.close(one)
        process = os.pidfd_open(pid)
        socket.send_fds(requests, [b"+"], [process])
        os.close(process)
