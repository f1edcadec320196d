"""Usage: a process in, what it holds at a moment out; many of them in, how fast it grows out."""

import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Usage:
    """What a process holds at one moment."""

    at_s: float
    rss_bytes: int
    num_fds: int
    num_threads: int


def usage_of(process):
    """`process` is psutil's."""
    with process.oneshot():
        return Usage(
            time.monotonic(),
            process.memory_info().rss,
            process.num_fds(),
            process.num_threads(),
        )


def rss_slope_mb_per_min(usage):
    """Of the straight line that fits best."""
    at = np.array([one.at_s for one in usage])
    rss = np.array([one.rss_bytes for one in usage])
    return float(np.polyfit(at - at[0], rss, 1)[0] * 60 / 1e6)


def in_halves(usage, ttft_ms):
    """Of a long run, the first half beside the second: what must not grow."""
    held, waited = np.array_split(np.array(usage, dtype=object), 2), np.array_split(ttft_ms, 2)

    def of(name, summary):
        return [float(summary([getattr(one, name) for one in half])) for half in held]

    return {
        "rss_mb": [round(rss / 1e6) for rss in of("rss_bytes", np.mean)],
        "fds": of("num_fds", np.median),
        "threads": of("num_threads", np.median),
        "ttft_p95_ms": [round(float(np.percentile(half, 95)), 1) for half in waited],
    }


def assert_level(halves):
    """Neither grown nor slower in the second half."""
    for name, most in (("rss_mb", 1.05), ("ttft_p95_ms", 1.2)):
        first, second = halves[name]
        assert second <= most * first, halves
    for name in ("fds", "threads"):
        first, second = halves[name]
        assert first == second, halves
