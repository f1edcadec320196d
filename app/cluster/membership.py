"""Membership: what the router hears of the workers in, which of them are to be asked out.

Serve copies the router's class with all that its module holds: what the router and others of its
process share lies here.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NotRequired, TypedDict

from app.cluster.ownership import rendezvous

_SUSPECT_S = 10.0


class To(TypedDict):
    """Where a call is to go: the worker `at`; else who has `stream`, but for those `without`."""

    at: NotRequired[str | None]
    stream: NotRequired[str | None]
    without: NotRequired[Collection[str]]


class Membership:
    """May be used from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._streams: Mapping[str, frozenset[str]] = {}
        self._suspects: dict[str, float] = {}

    def update(self, streams: Mapping[str, Iterable[str]]) -> None:
        """The workers that there are, each with the streams that it reports."""
        self._streams = {worker: frozenset(ids) for worker, ids in streams.items()}
        self._suspects = {one: at for one, at in self._suspects.items() if one in streams}

    @property
    def workers(self) -> list[str]:
        """All that are there, but for those that do not answer now."""
        now = self._clock()
        hung = {one for one, at in self._suspects.items() if now - at < _SUSPECT_S}
        return sorted(set(self._streams) - hung) or sorted(self._streams)

    def names(self, worker: str) -> bool:
        """Whether it is there."""
        return worker in self._streams

    @property
    def loads(self) -> dict[str, float]:
        """What each worker has to do, in streams."""
        return {worker: float(len(ids)) for worker, ids in self._streams.items()}

    @property
    def streams(self) -> set[str]:
        """All that some worker watches."""
        return set().union(*self._streams.values())

    def of(self, worker: str) -> frozenset[str]:
        """The streams that it reports."""
        return self._streams.get(worker, frozenset())

    def suspect(self, worker: str) -> None:
        """It does not answer: ask others for a while."""
        self._suspects[worker] = self._clock()

    def owner(self, stream_id: str | None) -> str | None:
        """Who reports the stream."""
        found = [one for one, ids in self._streams.items() if stream_id in ids]
        return found[0] if found else None

    def ranked(self, to: To) -> list[str]:
        """The workers to try, in order."""
        if at := to.get("at"):
            return [at]
        stream_id = to.get("stream")
        there = [one for one in self.workers if one not in to.get("without", ())]
        ranks = rendezvous(stream_id or str(self._clock()), there)
        owner = self.owner(stream_id)
        return sorted(ranks, key=lambda one: one != owner)


MEMBERS = Membership()
"""Of the one deployment of workers that this process sends calls to."""
