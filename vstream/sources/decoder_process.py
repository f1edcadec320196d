"""DecoderProcess: the parent's end of a process that decodes for it."""

import atexit
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

import structlog

from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.errors import SourceError

_PATIENCE_S = 1.0
"""How long a process may take to end by itself."""
_MOST_BYTES = 1 << 20
"""A message from a child that is longer is none."""
_LEVELS = ("debug", "info", "warning", "error", "exception")
_log = structlog.get_logger()
_START = "import sys; sys.path[:] = {path!r}; from {module} import main; main({control})"


class DecoderProcess(Closing):
    """Runs `function(link, *given)` in a child (see `vstream.sources.decoder_child`). The function
    and what it is given are pickled, so they must stand in modules.
    """

    def __init__(
        self,
        shared_bytes: int,
        permit: Callable[[], None],
        function: Callable[..., object],
        *given: object,
    ) -> None:
        """`shared_bytes` of memory are shared with it; what neither touches takes no room. `permit`
        is called when the child is about to connect, and may refuse it with a SourceError. Raises
        OSError if the system has no more processes, memory or descriptors.
        """
        self._permit = permit
        ours, theirs = socket.socketpair()
        with theirs, open(os.memfd_create("frames"), "r+b") as file:
            file.truncate(shared_bytes)
            self.memory = mmap.mmap(file.fileno(), shared_bytes)
            self._process = _forker.fork([theirs.fileno(), file.fileno()])
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._sending = ranked_lock(Rank.DECODERS)
        self._connection.send((os.getcwd(), function, *given))

    def send(self, kind: str, *values: object) -> None:
        """Has no effect on a process that has ended, which `hear` notices. From any thread."""
        with self._sending, suppress(OSError):
            self._connection.send((kind, *values))

    def hear(self, within_s: float) -> Any:
        """Return its next message, or None if none came in time: its kind and some values, as JSON
        has them; the last is ["returned", value].

        Raises EOFError once it has ended and all that it sent was heard, or if it sends what makes
        no sense; SourceError if the function raised that, RuntimeError if it raised something else.
        """
        until = time.monotonic() + within_s
        try:
            while self._connection.poll(max(0.0, until - time.monotonic())):
                kind, *values = message = json.loads(self._connection.recv_bytes(_MOST_BYTES))
                if kind == "refused":
                    raise SourceError(*map(str, values))
                if kind == "failed":
                    raise RuntimeError(f"in the process that decodes: {values}")
                if kind == "permit":
                    self.send("permitted", self._refusal())
                elif kind == "log":
                    level, event = values
                    getattr(_log, _LEVELS[_LEVELS.index(level)])(**event)
                else:
                    return message
        except (OSError, TypeError, ValueError) as error:
            raise EOFError from error
        return None

    def _refusal(self) -> tuple[str, str] | None:
        try:
            self._permit()
        except SourceError as refusal:
            return str(refusal), refusal.code
        return None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """End it. Call it once nobody hears it any more."""
        if not self._connection.closed:
            self._connection.close()  # a child that can still think ends at that
            if not wait_for([self._process], _PATIENCE_S):
                self.kill()
            os.close(self._process)
            self.memory.close()


class _Forker:
    """The process from which children are forked, started when the first is wanted."""

    def __init__(self) -> None:
        self._lock = ranked_lock(Rank.DECODERS)
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, descriptors: list[int]) -> int:
        """Return a descriptor of a new child's process, to which these are given."""
        with self._lock:
            for is_last in (False, True):
                try:
                    self._control = self._control or self._started()
                    socket.send_fds(self._control, [b"+"], descriptors)
                    return socket.recv_fds(self._control, 1, 1)[1][0]
                except (OSError, IndexError):  # someone has killed it
                    self.close()
                    if is_last:
                        raise
        raise AssertionError

    def start(self) -> None:
        with self._lock:
            self._control = self._control or self._started()

    def close(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()
        self._control = self._process = None

    def forget(self) -> None:
        """In a fork of this process: the other end is the parent's."""
        self._lock = ranked_lock(Rank.DECODERS)
        self._control = self._process = None

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        code = _START.format(
            path=sys.path, module="vstream.sources.decoder_child", control=theirs.fileno()
        )
        # One thread each, and few arenas of malloc: address space is bounded.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        return ours


_forker = _Forker()
start_forker = _forker.start
"""Starts the process from which children are forked, so that the first one need not wait for it."""
atexit.register(_forker.close)
os.register_at_fork(after_in_child=_forker.forget)
