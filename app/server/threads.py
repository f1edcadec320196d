"""Threads: work that a request has done and its kind in, done by threads of that kind alone.

Plain routes share AnyIO's 40 threads. What waits there for a lock or for the device takes them from
all others: so it has its own, and those who ask whether the service lives never wait for them. How
many wait is bounded, with a share for each key: a request that waits counts although its client has
gone.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request

from vstream.device.shares import Holder, Shares

Reply = TypeVar("Reply")


class Work(StrEnum):
    """What has threads of its own."""

    TELLING = "telling"
    """Whether the service is ready, and its figures."""
    SEARCHING = "searching"
    """One search runs at a time; those behind it wait without a thread."""
    LOOKING = "looking"
    """At the memory, with the device's turn."""


_THREADS = {Work.TELLING: 2, Work.SEARCHING: 2, Work.LOOKING: 8}
_MOST_AT_ONCE = {Work.TELLING: 1000, Work.SEARCHING: 64, Work.LOOKING: 64}


def open_threads(app: FastAPI) -> None:
    """In the event loop that `app` runs in."""
    app.state.threads = {work: CapacityLimiter(most) for work, most in _THREADS.items()}
    app.state.at_once = {
        work: Shares(most, f"requests are {work}") for work, most in _MOST_AT_ONCE.items()
    }


async def in_threads(
    request: Request, work: Work, call: Callable[[], Reply], holder: Holder | None = None
) -> Reply:
    """What `call` gives. Raises BusyError where too many of `holder`, or of all, wait already."""
    with request.app.state.at_once[work].held(holder):
        return await to_thread.run_sync(call, limiter=request.app.state.threads[work])
