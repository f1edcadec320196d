"""StretchBlocks: the blocks of a stretch of a stream: when they are, what the index says about
each, and how much of the stretch is known once some of them have been judged.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isinf
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from memory import MemoryReader
from memory.best_blocks import MIN_NORM, as_array
from memory.block_facts import Compared, Words
from memory.memory_reader import REACH_S
from vstream.device.work import FairLock

Bounds = tuple[float | None, float | None]
"""A stretch of stream time; a bound that is None is open."""
_AT_ONCE = 1024
"""Blocks whose keys are read in one turn of the device: they fit a processor's cache."""
SAME = 0.95
"""Neighbours at least this similar show the same. In a made-up stream two thirds of all neighbours
are, and 1 in 100 comings and goings lies between such neighbours.
"""


Kind = Literal["judged", "excluded", "open", "gone"]
_KINDS: tuple[Kind, ...] = get_args(Kind)


class Covered(NamedTuple):
    """A part of a stretch of stream time: `judged` by the model, `excluded` by the index as unlike
    the words, `open` if it is neither, or `gone` if nothing of it is kept.
    """

    kind: Kind
    from_s: float
    to_s: float


@dataclass(frozen=True, eq=False)
class StretchBlocks:
    """Block i is `ids[i]`. It stands for the stream from `starts` to `reaches`: until the next
    block, as what a sampler skipped looked the same, but for no more than `REACH_S`.
    """

    ids: Sequence[int]
    starts: Float[np.ndarray, " blocks"]
    ends: Float[np.ndarray, " blocks"]
    reaches: Float[np.ndarray, " blocks"]
    captured_at: Float[np.ndarray, " blocks"]
    within: tuple[float, float]
    scores: Float[np.ndarray, " blocks"]
    """Cosine of the words' query and the representative key, averaged over the layers compared."""
    likeness: Float[np.ndarray, " blocks"]
    """Cosine of a block's key and the key of the block before it; 0 for the first."""

    def looks(self, alike: float) -> Int64[np.ndarray, " blocks"]:
        """Return a number for each block, the same for neighbours at least `alike` similar."""
        return np.cumsum(self.likeness < alike)

    @cached_property
    def same(self) -> list[int]:
        """Like `looks`, for neighbours that show the same."""
        looks: list[int] = self.looks(SAME).tolist()
        return looks

    @cached_property
    def breaks(self) -> list[int]:
        """The blocks before which nothing is known."""
        return (np.flatnonzero(self.starts[1:] > self.reaches[:-1]) + 1).tolist()

    def clock(self, place: int, at_s: float) -> float:
        """Return a moment near block `place` in seconds since the epoch."""
        return float(self.captured_at[place] + at_s - self.ends[place])

    def covered(
        self,
        judged: Collection[float],
        runs: Sequence[tuple[int, int]],
        is_excluded: Bool[np.ndarray, " blocks"],
        gone: Collection[int] = (),
    ) -> list[Covered]:
        """Return the parts of the stretch, in order and without gaps; what lies in `runs` is
        judged. The blocks `gone` were there when they were looked up.
        """
        kinds = np.full(2 * len(self.ids) + 1, _KINDS.index("gone"))  # gone: between blocks
        of_blocks = kinds[1::2]
        of_blocks[:] = np.where(is_excluded, _KINDS.index("excluded"), _KINDS.index("open"))
        of_blocks[[place for place in judged if isinstance(place, int)]] = _KINDS.index("judged")
        for begin, end in runs:
            of_blocks[begin : end + 1] = _KINDS.index("judged")
        of_blocks[list(gone)] = _KINDS.index("gone")
        ends_s = np.append(np.stack([self.starts, self.reaches], axis=1), self.within[1])
        until_s = np.maximum.accumulate(ends_s.clip(self.within[0]))
        from_s = np.append(self.within[0], until_s[:-1])
        lasting = until_s > from_s
        kinds, from_s, until_s = kinds[lasting], from_s[lasting], until_s[lasting]
        first = np.flatnonzero(np.diff(kinds, prepend=-1))
        last = np.append(first[1:], len(kinds))[: len(first)] - 1
        parts = zip(
            kinds[first].tolist(), from_s[first].tolist(), until_s[last].tolist(), strict=True
        )
        return [Covered(_KINDS[kind], start_s, end_s) for kind, start_s, end_s in parts]


def blocks_of(
    memory: MemoryReader,
    turn: FairLock,
    words: Words,
    query: Float32[np.ndarray, "layers key_width"],
    within: Bounds,
) -> StretchBlocks:
    """Return the blocks of `memory` that stand for any of a stretch; `query` is that of `words`.
    Raises BlockNotFoundError if some go meanwhile.
    """
    facts = memory.facts
    with turn:
        memory.refresh()
        ids = memory.seen(None)
        starts, ends, captured_at = memory.times(ids)
        known, num_dropped = facts.compared(words), facts.num_dropped
    reaches = np.minimum(np.append(starts[1:], ends[-1:]), ends + REACH_S)
    from_s, to_s = (-inf if (one := within[0]) is None else one), within[1]
    to_s = inf if to_s is None else to_s
    inside = np.flatnonzero((np.maximum(reaches, ends) >= from_s) & (starts <= to_s))
    part = slice(inside[0], inside[-1] + 1) if len(inside) else slice(0)
    if len(inside):
        from_s = float(starts[part][0]) if isinf(from_s) else from_s
        to_s = float(reaches[part][-1]) if isinf(to_s) else to_s
    if isinf(from_s) or isinf(to_s):
        from_s = to_s = 0.0
    compared = _compared(memory, turn, ids[part], words[1], query, known)
    with turn:
        if facts.num_dropped == num_dropped:
            facts.put_compared(words, compared)
    places = np.searchsorted(compared.ids, as_array(ids[part]))
    likeness = compared.likeness[places]
    likeness[:1] = 0
    return StretchBlocks(
        ids[part],
        starts[part].clip(from_s, None),
        ends[part],
        reaches[part].clip(None, to_s),
        captured_at[part],
        (from_s, to_s),
        compared.scores[places],
        likeness,
    )


def _compared(
    memory: MemoryReader,
    turn: FairLock,
    ids: Sequence[int],
    layers: Sequence[int],
    query: Float32[np.ndarray, "layers key_width"],
    known: Compared | None,
) -> Compared:
    """Return how similar each block is to the words, and to the block before it. What is `known` of
    blocks is not compared again, unless some blocks are before it.
    """
    begin = 0
    if known is not None and known.query is query and ids and ids[0] in known.ids:
        begin = bisect_right(ids, known.ids[-1])
    else:
        known = Compared(query, as_array(()), np.zeros(0), np.zeros(0))
    scores, likeness = np.zeros(len(ids)), np.zeros(len(ids))
    for start in range(begin, len(ids), _AT_ONCE):
        first = max(0, start - 1)  # the block before as well: its neighbour is here
        with turn:
            keys = memory.representative_keys(ids[first : start + _AT_ONCE], layers).numpy()
        some = slice(first, first + keys.shape[1])
        norms = np.sqrt(np.einsum("lbf,lbf->lb", keys, keys)).clip(MIN_NORM)
        scores[some] = (np.einsum("lbf,lf->lb", keys, query) / norms).mean(0)
        beside = np.einsum("lbf,lbf->lb", keys[:, 1:], keys[:, :-1])
        likeness[some][1:] = (beside / (norms[:, 1:] * norms[:, :-1])).mean(0)
    return known.followed_by(as_array(ids[begin:]), scores[begin:], likeness[begin:])
