"""Threads: run each kind of blocking work in threads of its own.

Plain routes share AnyIO's 40 threads. Work that waits there for a lock or the device would block
every other route, health checks included, so it gets separate threads. The number of waiting
requests is bounded, with a share for each key; one whose client has gone still counts.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request

from vstream.device.shares import Holder, Shares

Reply = TypeVar("Reply")


class Work(StrEnum):
    """The kinds of work with their own threads."""

    TELLING = "telling"
    """Readiness and metrics."""
    SEARCHING = "searching"
    """One search runs at a time; the others wait without a thread."""
    LOOKING = "looking"
    """Reading the memory, which takes a turn of the device."""


_THREADS = {Work.TELLING: 2, Work.SEARCHING: 2, Work.LOOKING: 8}
_MOST_AT_ONCE = {Work.TELLING: 1000, Work.SEARCHING: 64, Work.LOOKING: 64}


def open_threads(app: FastAPI) -> None:
    """Call it in the event loop that `app` runs in."""
    app.state.threads = {work: CapacityLimiter(most) for work, most in _THREADS.items()}
    app.state.at_once = {
        work: Shares(most, f"requests are {work}") for work, most in _MOST_AT_ONCE.items()
    }


async def in_threads(
    request: Request, work: Work, call: Callable[[], Reply], holder: Holder | None = None
) -> Reply:
    """Run `call` in a thread of its kind. Raises BusyError if too many of `holder`'s requests, or
    of all requests, are waiting.
    """
    with request.app.state.at_once[work].held(holder):
        return await to_thread.run_sync(call, limiter=request.app.state.threads[work])
