"""Shares: say whether a holder may take one more place, so that nobody keeps all others out.

A holder with a limit gets at most a quarter of the places, but at least one, and a key that has one
already leaves the last free place to others. A user who is alone has no limit. RateLimit counts
requests over time and says how long each caller has to wait.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from memory.locks import Rank, ranked_lock
from vstream.errors import BusyError

_SHARE = 4
"""A quarter for each holder with a limit."""


@dataclass(frozen=True)
class Holder:
    """Who holds places beside others; a lone user is None. Limited: to a quarter of them."""

    name: str
    is_limited: bool = True


def has_room(holder: Holder | None, taken: Sequence[Holder | None], most: int) -> bool:
    """Whether `holder` may take one more of `most` places; `taken` says who has the others."""
    if len(taken) >= most:
        return False
    held = taken.count(holder)
    if holder is None or not held:
        return True
    return len(taken) < most - 1 and not (holder.is_limited and held >= most // _SHARE)


def require_room(
    holder: Holder | None, taken: Sequence[Holder | None], most: int, what: str
) -> None:
    """Raise BusyError unless `has_room`; `what` says what is too much, such as `questions wait`."""
    if has_room(holder, taken, most):
        return
    if len(taken) >= most:
        raise BusyError(f"{len(taken)} {what}, as many as may: try again shortly")
    raise BusyError(
        f"{taken.count(holder)} {what} with this key, its share of {most}: try again shortly"
    )


class Shares:
    """Places of one kind. Safe from any thread."""

    def __init__(self, most: int, what: str) -> None:
        """`what` as in `require_room`."""
        self._most = most
        self._what = what
        self._lock = ranked_lock(Rank.SHARES)
        self._taken: list[Holder | None] = []

    @contextmanager
    def held(self, holder: Holder | None) -> Iterator[None]:
        """Hold a place. Raises BusyError if there is none."""
        with self._lock:
            require_room(holder, self._taken, self._most, self._what)
            self._taken.append(holder)
        try:
            yield
        finally:
            with self._lock:
                self._taken.remove(holder)


_MOST_CALLERS = 10_000


class RateLimit:
    """A token bucket for each caller: a minute's worth at once, then as fast as it refills."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = ranked_lock(Rank.RATE_LIMIT)
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> float:
        """Return 0 if this request may proceed, else the seconds until the next may."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.get(caller, (float(self._per_minute), now))
            left = min(self._per_minute, left + (now - at) * self._per_minute / 60)
            if left < 1:
                self._left[caller] = (left, now)
                return (1 - left) * 60 / self._per_minute
            if len(self._left) >= _MOST_CALLERS:
                self._left.clear()
            self._left[caller] = (left - 1, now)
            return 0.0
