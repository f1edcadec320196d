"""Moment: a stretch of a stream that a search found, by its blocks or its texts."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from memory import Hit, MemoryReader

NEIGHBOURS = 2
"""Found blocks belong to one moment if at most one kept block that was not found is between."""
RANKS_ALIKE = 60
"""The larger it is, the less it counts to come first in a list."""
APART_S = 30.0
"""Nor may more than this lie between them: nothing is known about a gap in the stream."""


@dataclass(frozen=True)
class Moment:
    """`from_s` to `to_s` of stream time; all else is about its best block, or the `text` found.

    `score` is the cosine between the search's words and the block, averaged over the searched
    layers, or between the words and the text, in [-1, 1]. It ranks moments of one kind and does not
    measure certainty. `captured_at` is wall-clock time in seconds since 1970.
    """

    stream: str
    from_s: float
    to_s: float
    score: float
    block_id: int | None
    """None for a text without a kept block."""
    captured_at: float
    thumbnail: bytes = field(default=b"", repr=False)
    text: str = ""
    """What the memory policy noted about it, if that was found."""
    strange: str | None = None
    """Why being found means nothing, if the model does not know such pictures."""


def joined(
    stream: str, memory: MemoryReader, kept: Sequence[int], hits: Sequence[Hit]
) -> list[Moment]:
    """Return the moments that `hits` form, best first. `kept` are all block ids, ascending."""
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
    """Merge moments found by blocks and moments found by texts, each best first, into one list.
    Their scores do not compare, so their places in the lists count: reciprocal rank fusion (Cormack
    et al., SIGIR 2009). A moment in both lists is the text's, with the block's picture.
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
