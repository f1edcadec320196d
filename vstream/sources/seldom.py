"""Seldom: what is wrong in, whether to log it out: when it is new, and once an hour as it lasts."""

import time
from collections.abc import Callable

_EVERY_S = 3600.0


class Seldom:
    """For one thing, which may be wrong in one way at a time. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: str | None = None
        self._told_at = 0.0
        self._times = 0

    def times(self, what: str) -> int:
        """How often it was so since that was last told, or 0 if that is not to be told now."""
        now = self._clock()
        is_new = what != self._told
        self._times = 1 if is_new else self._times + 1
        if not is_new and now < self._told_at + _EVERY_S:
            return 0
        self._told, self._told_at = what, now
        times, self._times = self._times, 0
        return times

    def is_well(self) -> None:
        """Whatever is wrong next is new."""
        self._told = None
