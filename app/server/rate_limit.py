"""RateLimit: callers' requests in, how long each has to wait out."""

import time

from memory.locks import Rank, ranked_lock

_MOST_CALLERS = 10_000


class RateLimit:
    """A token bucket for each caller: a minute's worth at once, then as fast as it refills."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = ranked_lock(Rank.RATE_LIMIT)
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> float:
        """0 if this request may be, else seconds until the next may."""
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
