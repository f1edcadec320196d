"""wall_time: clock times in, the stream times of the blocks captured then out.

Blocks are captured in their order, so a bisection finds the edges of a stretch. A camera's clock
may have stepped back by some seconds: then the edges are right to that many, and what lies between
them is one run of blocks.
"""

import math
from bisect import bisect_left, bisect_right

from memory import MemoryReader


def stream_range(
    memory: MemoryReader, begin: float | None, end: float | None
) -> tuple[float, float]:
    """The `from_s` and `to_s` with which exactly the blocks captured from `begin` to `end` show.

    Seconds since the epoch; a bound that is None is open. Of nothing it is (inf, -inf), which shows
    nothing.
    """
    ids = memory.visible(None)

    def captured_at(block_id: int) -> float:
        return memory.info(block_id).captured_at

    first = 0 if begin is None else bisect_left(ids, begin, key=captured_at)
    behind = len(ids) if end is None else bisect_right(ids, end, key=captured_at)
    if first >= behind:
        return math.inf, -math.inf
    return memory.info(ids[first]).end_s, memory.info(ids[behind - 1]).end_s


def stream_time_since(memory: MemoryReader, at: float) -> float | None:
    """Stream time of a moment since the newest block was captured, as frames yet to be encoded have
    it; None before that, or without blocks. `at` is seconds since the epoch.
    """
    ids = memory.visible(None)
    if not ids:
        return None
    newest = memory.info(ids[-1])
    return newest.end_s + at - newest.captured_at if at >= newest.captured_at else None
