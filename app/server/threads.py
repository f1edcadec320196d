"""Threads: work that a request has done and its kind in, done by threads of that kind alone.

Plain routes share AnyIO's 40 threads. What waits there for a lock or for the device takes them from
all others: so it has its own, and those who ask whether the service lives never wait for them.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request

Reply = TypeVar("Reply")


class Work(StrEnum):
    """What has threads of its own."""

    TELLING = "telling"
    """Whether the service is ready, and its figures."""
    SEARCHING = "searching"
    """One search runs at a time; those behind it wait without a thread."""
    LOOKING = "looking"
    """At the memory, with the device's turn."""


_MOST = {Work.TELLING: 2, Work.SEARCHING: 2, Work.LOOKING: 8}


def open_threads(app: FastAPI) -> None:
    """In the event loop that `app` runs in."""
    app.state.threads = {work: CapacityLimiter(most) for work, most in _MOST.items()}


async def in_threads(request: Request, work: Work, call: Callable[[], Reply]) -> Reply:
    """What `call` gives."""
    return await to_thread.run_sync(call, limiter=request.app.state.threads[work])
