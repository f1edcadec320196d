"""Seldom: says whether to log a fault: when it is new, and once an hour while it lasts."""

import time
from collections.abc import Callable

_EVERY_S = 3600.0


class Seldom:
    """For one thing, which may have one fault at a time. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged: str | None = None
        self._logged_at = 0.0
        self._times = 0

    def times(self, what: str) -> int:
        """Return how often it happened since it was last logged; 0 if not to be logged now."""
        now = self._clock()
        is_new = what != self._logged
        self._times = 1 if is_new else self._times + 1
        if not is_new and now < self._logged_at + _EVERY_S:
            return 0
        self._logged, self._logged_at = what, now
        times, self._times = self._times, 0
        return times

    def is_well(self) -> None:
        """Take the next fault for a new one."""
        self._logged = None
