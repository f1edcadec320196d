"""choose_moments: the blocks most like a question in, those of them that it should read out.

Of the blocks most like a question many show the same visit of the same thing. So neighbours that
are alike make a moment, and of each moment, the most like the question first, its best, its first
and its last block are read: a question is about what a moment shows, or about when it began and
ended. Before all others come the first and the last moment that are nearly as like as the best:
what was first or last, no likeness can rank.
"""

from collections.abc import Sequence

NEARLY = 0.6
"""Of the best score, a moment that may be the first or the last."""
_GAP_BLOCKS = 2
"""Blocks of one moment are no farther apart."""


def choose_moments(
    ids: Sequence[int],
    scores: Sequence[float],
    like_next: Sequence[float],
    alike: float,
    num_blocks: int,
) -> list[int]:
    """At most `num_blocks` of `ids`, places among the blocks that are kept, all in stream order.

    `scores` say how like the question each is, `like_next` how like the next of them.
    """
    moments = [[0]] if ids else []
    for at, likeness in enumerate(like_next, start=1):
        if likeness >= alike and ids[at] - ids[at - 1] <= _GAP_BLOCKS:
            moments[-1].append(at)
        else:
            moments.append([at])
    best = [max(moment, key=scores.__getitem__) for moment in moments]
    order = sorted(range(len(moments)), key=lambda one: -scores[best[one]])
    near = [one for one in order if scores[best[one]] >= NEARLY * scores[best[order[0]]]]
    ends = (min(near), max(near)) if near else ()
    chosen: dict[int, None] = {}
    for one in (*ends, *order):
        chosen.update(dict.fromkeys((best[one], moments[one][0], moments[one][-1])))
    chosen.update(dict.fromkeys(sorted(range(len(ids)), key=lambda at: -scores[at])))
    return sorted(ids[at] for at in list(chosen)[:num_blocks])
