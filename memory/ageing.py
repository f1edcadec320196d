"""Ageing: a store over its budget in, older blocks coarser, fewer or gone, in that order.

1. The oldest span that is not in `COARSEST` yet is encoded again in it. A block whose numbers it
   cannot hold stays as it is, and counts as if it were in it.
2. When all are, the span that has kept the largest share of its blocks is thinned to half, the
   oldest of equals first: each part of the past keeps about the same share. Those blocks go that
   add least: whose representative keys are most like those of the next kept block before or after.
3. A span of one block cannot be thinned. Of two neighbours of which together more than `SPARSEST`
   is kept, the densest first, the later one goes.
4. When every part of the past is down to `SPARSEST`, the oldest span goes.

Redundancy by likeness to a kept neighbour follows StreamMem's and StreamKV's merging of frames
that look alike (arXiv 2508.15717, 2511.07278); different from both it works on keys that are
stored already, long after they were encoded, and never merges two blocks into one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from memory.block_store import Span

COARSEST = "int4"
SPARSEST = 1 / 16


@dataclass
class AgeingCounts:
    """Blocks so far: encoded again, taken out between others, and gone from the old end."""

    coarsened: int = 0
    thinned: int = 0
    dropped: int = 0


class AgingBlocks(Protocol):
    """What is known of the blocks that may change."""

    def may_get_coarser(self, block_id: int) -> bool:
        """Whether it is in a finer codec than `COARSEST`, which can hold its numbers."""

    def representative_keys(
        self, block_ids: Sequence[int]
    ) -> "Float[Tensor, 'layers blocks features']":
        """In the order given."""


@dataclass(frozen=True)
class AgeingStep:
    """Of the blocks of `span` those in `kept` stay, in `COARSEST` if they are to be coarser."""

    span: "Span"
    kept: Sequence[int]
    is_coarser: bool = False


def next_step(spans: "Sequence[Span]", blocks: AgingBlocks) -> AgeingStep:
    """What ages next; `spans` are those that may, oldest first."""
    for span in spans:
        if any(map(blocks.may_get_coarser, span.block_ids)):
            return AgeingStep(span, span.block_ids, is_coarser=True)
    if (dense := thinnest(spans)) is not None:
        ids = dense.block_ids
        gone = {ids[at] for at in redundant(blocks.representative_keys(ids), len(ids) // 2)}
        return AgeingStep(dense, [block_id for block_id in ids if block_id not in gone])
    return AgeingStep(second_of_densest(spans) or spans[0], ())


def thinnest(spans: "Sequence[Span]") -> "Span | None":
    """The span to thin next; None if none can be."""
    dense = [span for span in spans if span.density > SPARSEST and len(span.block_ids) > 1]
    return max(dense, key=lambda span: span.density, default=None)  # the first of equals


def second_of_densest(spans: "Sequence[Span]") -> "Span | None":
    """The span to leave out next where none can be thinned; None if all are sparse enough."""
    dense = [(a, b) for a, b in pairwise(spans) if _density(a, b) > SPARSEST]
    pair = max(dense, key=lambda both: _density(*both), default=None)
    return None if pair is None else pair[1]


def _density(one: "Span", following: "Span") -> float:
    return (len(one.block_ids) + len(following.block_ids)) / (following.end - one.first)


def redundant(keys: "Float[Tensor, 'layers blocks features']", num_kept: int) -> list[int]:
    """Which of some blocks in stream order to leave out so that `num_kept` stay.

    One by one that block goes which is most like its next kept neighbour (cosine of the
    representative keys, averaged over layers); the first and the last stay longest.
    """
    unit = keys.float()
    unit = unit / unit.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    kept = list(range(keys.shape[1]))
    gone = []

    def likeness(one: int, other: int) -> float:
        return float((unit[:, one] * unit[:, other]).sum(-1).mean())

    beside = [likeness(a, b) for a, b in pairwise(kept)]
    while len(kept) > num_kept:
        inner = range(1, len(kept) - 1)
        at = max(inner, key=lambda i: max(beside[i - 1], beside[i]), default=len(kept) - 1)
        gone.append(kept.pop(at))
        if at < len(kept):
            beside[at - 1 : at + 1] = [likeness(kept[at - 1], kept[at])]
        else:
            beside.pop()
    return sorted(gone)
