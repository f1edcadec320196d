"""Measures how many CPU threads torch should use: more is often slower on busy cores."""

import time

import torch

_CANDIDATES = (1, 2, 4, 8, 16, 32)
_WIDTH = 384
_ROUNDS = 30


def choose_cpu_threads() -> int:
    """Time a small matrix product with 1, 2, 4 ... threads; use and return the fastest count. A
    higher count must pay for itself: it wins only if it is 10 % faster.
    """
    available = torch.get_num_threads()
    if available == 1:
        return 1
    best, best_s = 1, _time_of(1)
    for threads in _CANDIDATES[1:]:
        if threads > available:
            break
        seconds = _time_of(threads)
        if seconds < 0.9 * best_s:
            best, best_s = threads, seconds
    torch.set_num_threads(best)
    return best


def _time_of(threads: int) -> float:
    torch.set_num_threads(threads)
    left, right = torch.ones(_WIDTH, _WIDTH), torch.ones(_WIDTH, 4 * _WIDTH)
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        torch.nn.functional.gelu(left @ right)
        times.append(time.perf_counter() - started)
    return sorted(times)[_ROUNDS // 2]
