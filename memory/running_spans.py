"""RunningSpans: blocks one behind the other in, the spans out in which a store rewrites them."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import groupby, pairwise
from math import inf

from memory.block_store import Span

SPAN_BLOCKS = 64
"""A span ends after so many blocks, or earlier where they are a large part of the budget."""
SPANS_IN_BUDGET = 16


class RunningSpans:
    """Where the spans of a store begin that can rewrite any blocks together."""

    def __init__(self, budget_bytes: int | None) -> None:
        self._span_bytes = inf if budget_bytes is None else budget_bytes // SPANS_IN_BUDGET
        self._firsts: list[int] = []
        self._newest_bytes = 0
        self._end = 0

    def add(self, block_id: int, num_bytes: int) -> None:
        """The next block."""
        self._newest_bytes += num_bytes
        if not self._firsts or self._is_full():
            self._firsts.append(block_id)
            self._newest_bytes = num_bytes
        self._end = block_id + 1

    def close(self) -> None:
        """Let the newest span end here."""
        if self._firsts and self._firsts[-1] < self._end:
            self._firsts.append(self._end)
            self._newest_bytes = 0

    def drop(self, block_id: int) -> None:
        """The closed span around that block is empty now."""
        del self._firsts[bisect_right(self._firsts, block_id) - 1]

    def closed(self, block_ids: Iterable[int]) -> list[Span]:
        """The closed spans with those of the kept `block_ids`, in order, that lie in each."""
        groups = groupby(block_ids, key=lambda block_id: bisect_right(self._firsts, block_id))
        ids_of = {number: tuple(ids) for number, ids in groups}
        bounds = enumerate(pairwise(self._firsts), start=1)
        return [
            Span(first, end, ids_of[number]) for number, (first, end) in bounds if number in ids_of
        ]

    def _is_full(self) -> bool:
        return self._end - self._firsts[-1] >= SPAN_BLOCKS or self._newest_bytes > self._span_bytes
