"""Ageing: a store over its budget makes older blocks coarser, then sparser, then evicts them.

1. The oldest span not yet in `COARSEST` is encoded again in it. A block whose numbers that codec
   cannot hold stays as it was and counts as if it were in it.
2. When all are, the span that has kept the largest share of its blocks is thinned to half, the
   oldest of equals first: so each part of the past keeps about the same share. The blocks to go
   are those that add least: their representative keys are most like those of the next kept block
   before or after. Under some policies the first and the last block of every run of similar blocks
   (`run_ends`, within the span) go only once no run has an inner block left.
3. A span of one block cannot be thinned. Of two neighbouring spans that together keep more than
   `SPARSEST`, the later is evicted, the densest pair first.
4. When every part of the past is down to `SPARSEST`, the oldest span is evicted.

Measuring redundancy by similarity to a kept neighbour follows the way StreamMem and StreamKV merge
similar frames (arXiv 2508.15717, 2511.07278). Unlike both, it works on stored keys, long after they
were encoded, and never merges two blocks.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from memory.block_store import Span

COARSEST = "int4"
ALIKE = 0.9
"""Blocks whose representative keys have this mean cosine over layers, or more, are similar."""
SPARSEST = 1 / 16
REWRITE_BLOCKS = 16
"""How many blocks are rewritten at a time."""
_SPANS_KEPT = 8
"""If only the newest blocks are kept, an eighth of them is evicted at a time."""


def blocks_at_a_time(kept: int) -> int:
    """Return how many blocks are evicted at a time if only `kept` are kept."""
    return max(1, kept // _SPANS_KEPT)


def held_blocks(count: int, kept: int | None, needed: int | None) -> tuple[int, int]:
    """Return how many of `count` blocks are held unchanged and how many rewritten, at most.

    `kept`: how many of the newest are kept; None: all. `needed`: how many of the newest are not
    rewritten; None: none is ever rewritten.
    """
    if kept is not None:
        count = min(count, kept + blocks_at_a_time(kept))
    if needed is None:
        return count, 0
    whole = min(count, (-(-needed // REWRITE_BLOCKS) + 1) * REWRITE_BLOCKS)
    return whole, count - whole


@dataclass
class AgeingCounts:
    """Blocks so far that were made coarser, thinned out, or evicted from the old end."""

    coarsened: int = 0
    thinned: int = 0
    dropped: int = 0


class AgingBlocks(Protocol):
    """What is known of the blocks that may age."""

    def may_get_coarser(self, block_id: int) -> bool:
        """Return whether it is in a finer codec than `COARSEST`, which can hold its numbers."""

    def representative_keys(
        self, block_ids: Sequence[int]
    ) -> "Float[Tensor, 'layers blocks features']":
        """Return the keys in the order given."""


@dataclass(frozen=True)
class AgeingStep:
    """The blocks of `span` in `kept` stay, in `COARSEST` if `is_coarser`; the others go."""

    span: "Span"
    kept: Sequence[int]
    is_coarser: bool = False


Ends = Callable[["Float[Tensor, 'layers blocks features']"], Collection[int]]
"""Maps the keys of blocks in stream order to the places of those to evict last."""


def next_step(
    spans: "Sequence[Span]", blocks: AgingBlocks, ends: Ends = lambda keys: ()
) -> AgeingStep:
    """Return what ages next; `spans` are those that may, oldest first. When a span is thinned, its
    `ends` go last.
    """
    for span in spans:
        if any(map(blocks.may_get_coarser, span.block_ids)):
            return AgeingStep(span, span.block_ids, is_coarser=True)
    if (dense := thinnest(spans)) is not None:
        ids = dense.block_ids
        keys = blocks.representative_keys(ids)
        gone = {ids[at] for at in redundant(keys, len(ids) // 2, ends(keys))}
        return AgeingStep(dense, [block_id for block_id in ids if block_id not in gone])
    return AgeingStep(second_of_densest(spans) or spans[0], ())


def thinnest(spans: "Sequence[Span]") -> "Span | None":
    """Return the span to thin next; None if none can be thinned."""
    dense = [span for span in spans if span.density > SPARSEST and len(span.block_ids) > 1]
    return max(dense, key=lambda span: span.density, default=None)  # the first of equals


def second_of_densest(spans: "Sequence[Span]") -> "Span | None":
    """Return the span to evict next when none can be thinned; None if all are sparse enough."""
    dense = [(a, b) for a, b in pairwise(spans) if _density(a, b) > SPARSEST]
    pair = max(dense, key=lambda both: _density(*both), default=None)
    return None if pair is None else pair[1]


def _density(one: "Span", following: "Span") -> float:
    return (len(one.block_ids) + len(following.block_ids)) / (following.end - one.first)


def redundant(
    keys: "Float[Tensor, 'layers blocks features']", num_kept: int, last: Collection[int] = ()
) -> list[int]:
    """Return which blocks, in stream order, to leave out so that `num_kept` stay.

    Removes one block at a time: the one most like its next kept neighbour (cosine of representative
    keys, averaged over layers). Blocks in `last` go after all others; the first and the last block
    stay longest.
    """
    unit, kept, gone = _unit(keys), list(range(keys.shape[1])), []
    beside = _beside(unit)
    while len(kept) > num_kept:
        inner = range(1, len(kept) - 1)
        going = [i for i in inner if kept[i] not in last] or inner
        at = max(going, key=lambda i: max(beside[i - 1], beside[i]), default=len(kept) - 1)
        gone.append(kept.pop(at))
        if at < len(kept):
            beside[at - 1 : at + 1] = [_likeness(unit, kept[at - 1], kept[at])]
        else:
            beside.pop()
    return sorted(gone)


def run_ends(
    keys: "Float[Tensor, 'layers blocks features']", alike: float = ALIKE
) -> Collection[int]:
    """Return the first and last block of every run of blocks that are all similar to its first."""
    unit, first, ends = _unit(keys), 0, {0}
    for at in range(1, keys.shape[1]):
        if _likeness(unit, first, at) < alike:
            ends |= {at - 1, at}
            first = at
    return ends | {keys.shape[1] - 1}


def _unit(keys: "Float[Tensor, 'layers blocks features']") -> "Tensor":
    exact = keys.float()
    unit: Tensor = exact / exact.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return unit


def _likeness(unit: "Tensor", one: int, other: int) -> float:
    return float((unit[:, one] * unit[:, other]).sum(-1).mean())


def _beside(unit: "Tensor") -> list[float]:
    """Return how similar each block is to the next."""
    return [_likeness(unit, a, b) for a, b in pairwise(range(unit.shape[1]))]
