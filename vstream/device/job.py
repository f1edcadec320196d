"""Job: a work on its way in, its result for whoever waits for it out, or what it raised.

Whoever drives it, the scheduler's thread, calls `advance` and `abort`; everybody else the rest.
"""

import threading
from collections.abc import Callable
from enum import StrEnum
from traceback import format_tb
from typing import Any, Generic, TypeVar

import structlog

from vstream.device.shares import Holder
from vstream.engine.passes import Request, Work

_log = structlog.get_logger()
Result = TypeVar("Result")


class Kind(StrEnum):
    """What a work is for."""

    ASK = "ask"
    JUDGE = "judge"
    INGEST = "ingest"
    KEEP = "keep"


class Job(Generic[Result]):
    """One work on its way: wait for its result, or cancel it."""

    def __init__(
        self,
        work: Work[Result],
        kind: Kind,
        blocks: int,
        on_end: Callable[[], None],
        holder: Holder | None = None,
    ) -> None:
        self.kind = kind
        self.blocks = blocks
        self.holder = holder
        self.is_cancelled = False
        self.request: Request | None = None
        """What it wants next; None before it has begun and after its end."""
        self._work = work
        self._on_end = on_end
        self._finished = threading.Event()
        self._result: Result | None = None
        self._error: BaseException | None = None

    def result(self) -> Result:
        """Wait for it. Raises what the work raised; CancelledError if it was cancelled."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def wait(self) -> None:
        """Until it is done, whatever becomes of it."""
        self._finished.wait()

    def cancel(self) -> None:
        """End it before its next pass; nothing happens to one that is done."""
        self.is_cancelled = True

    @property
    def is_done(self) -> bool:
        return self._finished.is_set()

    def advance(self, reply: Any = None) -> None:
        """Go on to the next request, or to the end. Raises nothing."""
        try:
            if isinstance(reply, Exception):
                self.request = self._work.throw(reply)
            else:
                self.request = self._work.send(reply)
        except StopIteration as end:
            self._result = end.value
            self._end()
        except BaseException as error:  # noqa: BLE001  whoever waits for the result is told
            self._end(error)

    def abort(self, error: BaseException) -> None:
        """End it here; it cleans up now, in the device's thread, and not when it is collected."""
        try:
            self._work.close()
        except BaseException as other:  # noqa: BLE001  as above
            error = other
        self._end(error)

    def _end(self, error: BaseException | None = None) -> None:
        self.request = None
        if error is not None:
            _let_go(error)
        self._error = error
        self._finished.set()
        try:
            self._on_end()
        except Exception:  # noqa: BLE001  the other works go on
            _log.exception("telling of an end failed")


def _let_go(error: BaseException) -> None:
    """Take its frames from `error`: they hold what all works of the round were about.

    Where it was raised is kept as a note.
    """
    cause: BaseException | None = error
    while cause is not None and cause.__traceback__ is not None:
        cause.add_note("raised in the device's thread:\n" + "".join(format_tb(cause.__traceback__)))
        cause.__traceback__ = None
        cause = cause.__cause__ or cause.__context__
