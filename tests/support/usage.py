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
