"""Oracle: default, shown the evidence as well: what a memory could give at best.

Every layer retrieves the blocks at the ends of the evidence, and then the best of the rest: as many
in all as under default, for the number of blocks must not tell whether there is any evidence. So
the evidence stands among the blocks of each layer, as it does in training.
"""

from collections.abc import Collection, Sequence

from torch import Tensor

from eval.play.asked import TimeSpan
from eval.play.block_choice import BlockTimes
from memory.policies.default import Default
from memory.policies.policy import Past
from memory.policies.uniform import spread
from vstream.engine import MemoryView


class Oracle(Default):
    """Asks one question at a time, whose evidence it is told first."""

    wanted: Collection[int] = ()
    """Blocks; no more than a layer retrieves."""

    def select(self, layer: int, query: Tensor, past: Past) -> list[int]:
        older = frozenset(past.ids)
        seen = {block for block in self.wanted if block in older}
        num_blocks, num_searched = self.retrieve_blocks(), 0
        similarity = self.settings.similarity or self.shape.similarity
        while len(seen) < num_blocks:
            num_searched += num_blocks - len(seen)
            runs_of = self.settings.retrieve_runs_of
            found = past.search([layer], query[None], num_searched, similarity, runs_of)
            seen.update(found)
            if len(found) < num_searched:
                break
        return sorted(seen)


def evidence_blocks(
    times: BlockTimes, view: MemoryView, evidence: Sequence[TimeSpan], num_blocks: int
) -> list[int]:
    """The first and the last older block of every span, in stream order, as training shows them.

    Where there are more than `num_blocks`, an even share of them.
    """
    older = frozenset(view.older_ids)
    by_span = [[block for block in times.holding(span) if block in older] for span in evidence]
    ends = {end for blocks in by_span if blocks for end in (blocks[0], blocks[-1])}
    return spread(sorted(ends), num_blocks)
