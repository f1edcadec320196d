"""Moment: a stretch of a stream that a search found; blocks or texts found in, moments out."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memory import Hit, MemoryReader

NEIGHBOURS = 2
"""Found blocks belong to one moment if at most one kept block that was not found is between."""
RANKS_ALIKE = 60
"""The larger, the less it counts to be first of a list."""
APART_S = 30.0
"""And if no more than this lies between them: over a gap in the stream nothing is known."""


@dataclass(frozen=True)
class Moment:
    """`from_s` to `to_s` of stream time; all else is of its best block, or of the `text` found.

    `score` is the cosine of the search's words and the block, averaged over the searched layers, or
    that of the words and the text: in [-1, 1], and of use to rank moments of one kind, not as a
    measure of certainty. `captured_at` is wall-clock time in seconds since 1970.
    """

    stream: str
    from_s: float
    to_s: float
    score: float
    block_id: int | None
    """None of a text of which no block is kept."""
    captured_at: float
    thumbnail: bytes = field(default=b"", repr=False)
    text: str = ""
    """What the memory policy noted of it, where that is what was found."""
    strange: str | None = None
    """Why being found means nothing, where the model does not know such pictures."""


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
    return sorted(moments, key=lambda moment: -moment.score)


def merged(seen: Sequence[Moment], told: Sequence[Moment]) -> list[Moment]:
    """Moments found by their blocks and by their texts, each best first, as one list. Their scores
    do not compare, so what counts is the place in either list: reciprocal rank fusion (Cormack et
    al., SIGIR 2009). A moment of both lists is the text's, with the block's picture.
    """
    found = [(_weight(place), one) for place, one in enumerate(seen)]
    for place, one in enumerate(told):
        weight = _weight(place)
        for other in found:
            best = other[1]
            overlap = one.from_s <= best.to_s and best.from_s < one.to_s
            if not best.text and one.stream == best.stream and overlap:
                found.remove(other)
                one = replace(one, block_id=best.block_id, thumbnail=best.thumbnail)
                weight += other[0]
                break
        found.append((weight, one))
    return [one for _, one in sorted(found, key=lambda both: -both[0])]


def _weight(place: int) -> float:
    return 1 / (RANKS_ALIKE + place)


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
