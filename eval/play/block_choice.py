"""BlockTimes: when a memory's blocks were, and how much of a question's evidence they show.

Oracle is `default` that also sees the evidence: the best that a memory could give. Every layer
retrieves the blocks at the ends of the evidence, then the best of the rest: as many in all as under
`default`, because the number of blocks must not reveal whether there is evidence. So the evidence
is among the blocks of each layer, as it is in training.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import Tensor

from eval.play.plays import TimeSpan
from memory import MemoryReader
from memory.policies.default import Default
from memory.policies.policy import Past
from memory.policies.uniform import spread
from vstream.engine import MemoryView


@dataclass(frozen=True)
class BlockTimes:
    """When the blocks that a memory still keeps begin and end, in stream order."""

    starts_s: Sequence[float]
    ends_s: Sequence[float]
    ids: Sequence[int]

    @classmethod
    def of(cls, memory: MemoryReader) -> "BlockTimes":
        ids = memory.visible(None)
        infos = [memory.info(i) for i in ids]
        return cls([info.start_s for info in infos], [info.end_s for info in infos], ids)

    def holding(self, span: TimeSpan) -> Sequence[int]:
        first = bisect_left(self.ends_s, span.start_s)
        end = bisect_right(self.starts_s, span.end_s)
        return self.ids[first:end]


def spread_to_the_ends(places: Sequence[int], num_places: int) -> list[int]:
    """Like `spread`, but include the first and the newest; with one place, the newest."""
    last = len(places) - 1
    if last < num_places:
        return list(places)
    if num_places == 1:
        return [places[-1]]
    return [places[i * last // (num_places - 1)] for i in range(num_places)]


def recall_by_layer(
    times: BlockTimes, evidence: Sequence[TimeSpan], context: Sequence[Sequence[int]]
) -> list[float]:
    """Return for each layer's blocks the share of the evidence spans that at least one shows."""
    holding = [times.holding(span) for span in evidence]
    return [
        sum(any(block in blocks for block in layer) for blocks in holding) / len(holding)
        for layer in context
    ]


class Oracle(Default):
    """Asks one question at a time, and gets its evidence first."""

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
    """Return the first and last older block of every span, as in training; if many, some evenly."""
    older = frozenset(view.older_ids)
    by_span = [[block for block in times.holding(span) if block in older] for span in evidence]
    ends = {end for blocks in by_span if blocks for end in (blocks[0], blocks[-1])}
    return spread(sorted(ends), num_blocks)
