"""Work on a device: a submitted work (Job), a lock in order of arrival (FairLock), a second thread
(SideThread), and the time that stages take (StageClock).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from traceback import format_tb
from typing import Any, TypeVar

import torch

from memory.locks import Rank, ranked_lock
from vstream.device.shares import Holder
from vstream.engine.passes import Request, Work
from vstream.errors import BusyError

Result = TypeVar("Result")


class WorkKind(StrEnum):
    ASK = "ask"
    JUDGE = "judge"
    INGEST = "ingest"
    KEEP = "keep"
    DESCRIBE = "describe"


class Job(Future[Result]):
    """One submitted work: wait for its result, or cancel it."""

    def __init__(
        self, work: Work[Result], kind: WorkKind, blocks: int, holder: Holder | None = None
    ) -> None:
        super().__init__()
        self.kind = kind
        self.blocks = blocks
        self.holder = holder
        self.is_cancelled = False
        self.submitted_at = self.begun_at = time.perf_counter()
        """The same until the work starts."""
        self.request: Request | None = None
        """What it wants next; None before it starts and after it ends."""
        self._work = work

    def cancel(self) -> bool:
        """End it before its next pass; return False, and do nothing, if it is done."""
        self.is_cancelled = True
        return not self.done()

    def advance(self, reply: Any = None) -> None:
        """Run to the next request, or to the end. Raises nothing."""
        try:
            if isinstance(reply, Exception):
                self.request = self._work.throw(reply)
            else:
                self.request = self._work.send(reply)
        except StopIteration as end:
            self.request = None
            self.set_result(end.value)
        except BaseException as error:  # noqa: BLE001  the waiting thread gets it
            self._fail(error)

    def abort(self, error: BaseException) -> None:
        """End it now, so that it cleans up in the device's thread and not when it is collected."""
        try:
            self._work.close()
        except BaseException as other:  # noqa: BLE001  as above
            error = other
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self.request = None
        _let_go(error)
        self.set_exception(error)


def _let_go(error: BaseException) -> None:
    """Note where `error` was raised and drop its traceback, which keeps the whole round alive."""
    cause: BaseException | None = error
    while cause is not None and cause.__traceback__ is not None:
        cause.add_note("raised in the device's thread:\n" + "".join(format_tb(cause.__traceback__)))
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__


class SideThread:
    """The second thread of a device. May be called from any thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="side")

    def mark(self) -> torch.cuda.Event | None:
        """Mark the end of what the calling thread has queued on the GPU; None on a CPU."""
        if self._device.type != "cuda":
            return None
        event: torch.cuda.Event = torch.cuda.current_stream(self._device).record_event()
        return event

    def run(self, work: Callable[[], Result], after: torch.cuda.Event | None) -> Future[Result]:
        """Run `work` once the GPU has passed the mark `after`. What it makes on the GPU belongs to
        this thread's stream, so keep only what was copied to the host. Raises BusyError if the
        process is ending.
        """
        try:
            return self._thread.submit(self._run, work, after)
        except RuntimeError as error:
            raise BusyError(f"the process is ending: {error}") from error

    @torch.inference_mode()
    def _run(self, work: Callable[[], Result], after: torch.cuda.Event | None) -> Result:
        if after is None:
            return work()
        self._stream.wait_event(after)
        with torch.cuda.stream(self._stream):
            return work()

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)


class StageClock:
    """Adds up wall time by stage; a stage belongs to one thread at a time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class FairLock:
    """A lock that threads get in the order in which they ask. threading.Lock does not promise that:
    a thread that releases and takes it in a loop, as the ingestion worker does, can starve the
    others.
    """

    def __init__(self, rank: Rank) -> None:
        self._lock = ranked_lock(rank)
        """Taken last, when it is always free: it tells the lock order who holds this one."""
        self._changed = threading.Condition()  # guards the queue; has no rank of its own
        self._waiting: deque[object] = deque()

    def take(self, patience_s: float | None = None) -> bool:
        """Wait for it; False if `patience_s` seconds pass first. The holder must `give` it back."""
        ticket, is_taken = object(), False
        with self._changed:
            self._waiting.append(ticket)
            try:
                is_first = self._changed.wait_for(lambda: self._waiting[0] is ticket, patience_s)
                is_taken = is_first and self._lock.acquire()
            finally:
                if not is_taken:  # on Ctrl-C too: nobody may wait for this ticket
                    self._waiting.remove(ticket)
                    self._changed.notify_all()
        return is_taken

    def give(self) -> None:
        self._lock.release()
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *raised: object) -> None:
        self.give()
