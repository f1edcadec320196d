"""Backoff: how long to wait before the next attempt, growing with each failure.

Capped exponential with jitter: attempt n waits between half and all of min(max_s, min_s · 2^n), so
that many cameras behind one switch do not come back in step.
"""

import random


class Backoff:
    """Waits between attempts, in seconds."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max(min_s, max_s)
        self._longest_s = min_s

    def next_s(self) -> float:
        wait_s = self._longest_s * random.uniform(0.5, 1.0)
        self._longest_s = min(self._max_s, 2 * self._longest_s)
        return wait_s

    def reset(self) -> None:
        self._longest_s = self._min_s
