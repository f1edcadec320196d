"""interruptible: lets another thread cut short the FFmpeg calls of this one.

A read from a camera that went silent blocks until its timeout, and PyAV has no call to cancel it.
But FFmpeg asks PyAV about ten times a second whether to give up, and PyAV answers by comparing
`time.monotonic()` with the call's deadline. Inside `interruptible` that clock, for this thread
only, leaps past every deadline once `must_stop()` is true. A PyAV that keeps its clock elsewhere
is left alone: a call then ends at its own timeout.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from av.container import core

from memory.locks import Rank, ranked_lock

_LEAP_S = 1e6


class _LeapingClock:
    """Stands in for the module `time` in PyAV's core."""

    def __init__(self) -> None:
        self.must_stop: dict[int, Callable[[], bool]] = {}
        self._leaps = 0

    def monotonic(self) -> float:
        must_stop = self.must_stop.get(threading.get_ident())
        if must_stop is None or not must_stop():
            return time.monotonic()
        self._leaps += 1  # further at every look, so that calls that start after the stop end too
        return time.monotonic() + self._leaps * _LEAP_S


_lock = ranked_lock(Rank.FFMPEG_CLOCK)  # guards the one clock that PyAV's core looks at


@contextmanager
def interruptible(must_stop: Callable[[], bool]) -> Iterator[None]:
    """Make blocking FFmpeg calls of this thread fail soon after `must_stop()` turns true.
    `must_stop` is called often, with the GIL held, and must not raise or block.
    """
    pyav: Any = core
    thread_id = threading.get_ident()
    with _lock:
        if isinstance(getattr(pyav, "time", None), ModuleType):
            pyav.time = _LeapingClock()
        clock = getattr(pyav, "time", None)
        if isinstance(clock, _LeapingClock):
            clock.must_stop[thread_id] = must_stop
    try:
        yield
    finally:
        with _lock:
            if isinstance(clock, _LeapingClock):
                del clock.must_stop[thread_id]
                if not clock.must_stop:
                    pyav.time = time
