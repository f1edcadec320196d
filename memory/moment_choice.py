"""choose_moments: picks which of the blocks most like a question it should read.

Many of the blocks most like a question show the same visit of the same thing. So neighbours that
look similar form a moment. The question reads each moment's best, first and last block, best moment
first: it asks what a moment shows, or when it began or ended. Before all others come the first and
the last of the moments that score nearly as high as the best: similarity cannot rank what was first
or last.
"""

from collections.abc import Sequence

NEARLY = 0.6
"""Share of the best score at which a moment may count as the first or the last."""
_GAP_BLOCKS = 2
"""The largest distance between consecutive blocks of one moment."""


def choose_moments(
    ids: Sequence[int],
    scores: Sequence[float],
    like_next: Sequence[float],
    alike: float,
    num_blocks: int,
) -> list[int]:
    """Return at most `num_blocks` of `ids`, the blocks' places in the memory, in stream order.

    `scores` say how similar each is to the question, `like_next` to the next of them.
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
