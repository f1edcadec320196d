"""Moment: a stretch of a stream that a search found; blocks found in a memory in, moments out."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from memory import Hit, MemoryReader

NEIGHBOURS = 2
"""Found blocks belong to one moment if at most one kept block that was not found is between."""
APART_S = 30.0
"""And if no more than this lies between them: over a gap in the stream nothing is known."""


@dataclass(frozen=True)
class Moment:
    """`from_s` to `to_s` of stream time; all else is of its best block.

    `score` is the cosine of the search's words and the block, averaged over the searched layers: in
    [-1, 1], and of use to rank moments, not as a measure of certainty. `captured_at` is wall-clock
    time in seconds since 1970.
    """

    stream: str
    from_s: float
    to_s: float
    score: float
    block_id: int
    captured_at: float
    thumbnail: bytes = b""


def joined(
    stream: str, memory: MemoryReader, kept: Sequence[int], hits: Sequence[Hit]
) -> list[Moment]:
    """The moments that `hits` make up, best first. `kept` are the ids of all blocks, rising."""
    moments: list[Moment] = []
    run: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: hit.block_id):
        if run and not _is_near(memory, kept, run[-1].block_id, hit.block_id):
            moments.append(_moment(stream, memory, run))
            run = []
        run.append(hit)
    if run:
        moments.append(_moment(stream, memory, run))
    return sorted(moments, key=lambda moment: (-moment.score, moment.block_id))


def _is_near(memory: MemoryReader, kept: Sequence[int], earlier: int, later: int) -> bool:
    apart_s = memory.info(later).start_s - memory.info(earlier).end_s
    places = bisect_left(kept, later) - bisect_left(kept, earlier)
    return places <= NEIGHBOURS and apart_s <= APART_S


def _moment(stream: str, memory: MemoryReader, run: Sequence[Hit]) -> Moment:
    best = max(run, key=lambda hit: hit.score)
    return Moment(
        stream=stream,
        from_s=memory.info(run[0].block_id).start_s,
        to_s=memory.info(run[-1].block_id).end_s,
        score=best.score,
        block_id=best.block_id,
        captured_at=memory.info(best.block_id).captured_at,
    )
