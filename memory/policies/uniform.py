"""uniform: a question reads the newest blocks and as many past ones as `default`, evenly spaced."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memory.policies.default import Default
from memory.policies.policy import Card, Past

if TYPE_CHECKING:
    from torch import Tensor


class Uniform(Default):
    """A baseline: which past blocks a question reads does not depend on its words."""

    name = "uniform"
    card = Card(
        paper="a baseline; evenly spaced frames are what Video-LLMs read of a file",
        keeps="every block; a question reads the newest, and older ones evenly spaced in time",
    )

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        return spread(past.ids, self.retrieve_blocks())

    def select_for_all(self, queries: "Tensor", past: Past) -> list[int]:
        return spread(past.ids, self.retrieve_blocks())


def spread(blocks: Sequence[int], num_blocks: int) -> list[int]:
    """Return `num_blocks` of `blocks`, from the middles of equal parts; all if there are fewer."""
    total = len(blocks)
    if total <= num_blocks:
        return list(blocks)
    return [blocks[(2 * i + 1) * total // (2 * num_blocks)] for i in range(num_blocks)]
