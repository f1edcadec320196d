"""BlockTimes: when the blocks of a memory were, and how much of a question's evidence they show."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from eval.play.asked import TimeSpan
from memory import MemoryReader


@dataclass(frozen=True)
class BlockTimes:
    """When the blocks that one memory still keeps begin and end, in stream order."""

    starts_s: Sequence[float]
    ends_s: Sequence[float]
    ids: Sequence[int]

    @classmethod
    def of(cls, memory: MemoryReader) -> "BlockTimes":
        ids = memory.visible(None)
        infos = [memory.info(i) for i in ids]
        return cls([info.start_s for info in infos], [info.end_s for info in infos], ids)

    def holding(self, span: TimeSpan) -> Sequence[int]:
        """The blocks that show any second of `span`."""
        first = bisect_left(self.ends_s, span.start_s)
        end = bisect_right(self.starts_s, span.end_s)
        return self.ids[first:end]


def spread_to_the_ends(places: Sequence[int], num_places: int) -> list[int]:
    """As `spread`, but the first and the newest are among them; of one, the newest."""
    last = len(places) - 1
    if last < num_places:
        return list(places)
    if num_places == 1:
        return [places[-1]]
    return [places[i * last // (num_places - 1)] for i in range(num_places)]


def recall_by_layer(
    times: BlockTimes, evidence: Sequence[TimeSpan], context: Sequence[Sequence[int]]
) -> list[float]:
    """For each layer's blocks, the share of the evidence spans that at least one of them shows."""
    holding = [times.holding(span) for span in evidence]
    return [
        sum(any(block in blocks for block in layer) for blocks in holding) / len(holding)
        for layer in context
    ]
