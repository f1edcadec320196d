"""Membership: knows the workers and their streams, and ranks the workers for a call.

Serve copies the router's class and everything in its module, so what the router shares with others
in its process lies here.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NotRequired, TypedDict

from app.cluster.ownership import rendezvous

_SUSPECT_S = 10.0


class To(TypedDict):
    """Where a call should go: the worker `at`, else one for `stream`, but none of `without`."""

    at: NotRequired[str | None]
    stream: NotRequired[str | None]
    without: NotRequired[Collection[str]]


class Membership:
    """The workers, the streams that each reports, and those that hang. Safe from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reported: Mapping[str, frozenset[str]] = {}
        """By worker that exists, the streams that it reports."""
        self._suspects: dict[str, float] = {}

    def update(self, streams: Mapping[str, Iterable[str]]) -> None:
        """Set the workers that exist, each with the streams that it reports."""
        self.reported = {worker: frozenset(ids) for worker, ids in streams.items()}
        self._suspects = {one: at for one, at in self._suspects.items() if one in streams}

    @property
    def workers(self) -> list[str]:
        """All workers, except those that do not answer now."""
        now = self._clock()
        hung = {one for one, at in self._suspects.items() if now - at < _SUSPECT_S}
        return sorted(set(self.reported) - hung) or sorted(self.reported)

    @property
    def streams(self) -> set[str]:
        """All streams that some worker watches."""
        return set().union(*self.reported.values())

    def suspect(self, worker: str) -> None:
        """Note that it does not answer: ask others for a while."""
        self._suspects[worker] = self._clock()

    def owner(self, stream_id: str | None) -> str | None:
        """Return the worker that reports the stream."""
        found = [one for one, ids in self.reported.items() if stream_id in ids]
        return found[0] if found else None

    def ranked(self, to: To) -> list[str]:
        """Return the workers to try, in order."""
        if at := to.get("at"):
            return [at]
        stream_id = to.get("stream")
        there = [one for one in self.workers if one not in to.get("without", ())]
        ranks = rendezvous(stream_id or str(self._clock()), there)
        owner = self.owner(stream_id)
        return sorted(ranks, key=lambda one: one != owner)


MEMBERS = Membership()
"""The workers of the one deployment that this process calls."""
