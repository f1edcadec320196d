"""MemoryStats: how much of a stream is kept, where, and what became of the rest."""

from dataclasses import dataclass, field

from memory.ageing import AgeingCounts


@dataclass(frozen=True)
class MemoryStats:
    """`from_s` to `to_s` is the span of the blocks that can be read; both are 0 without blocks.
    `seconds_by_tier` is the stream time that they stand for: see MemoryReader.

    `dropped` are all blocks that can no longer be read; `ageing` says what became of blocks since
    the memory was opened. `cut_bytes` is what a writer that died had left behind the last block,
    and `waiting` counts the newest blocks, which the store has not acknowledged yet. `damaged`
    counts places where blocks were found damaged or missing, when the memory was opened and since.
    """

    blocks: int
    dropped: int
    blocks_by_codec: dict[str, int]
    bytes_by_tier: dict[str, int]
    seconds_by_tier: dict[str, float]
    index_bytes: int
    from_s: float
    to_s: float
    cut_bytes: int = 0
    waiting: int = 0
    damaged: int = 0
    ageing: AgeingCounts = field(default_factory=AgeingCounts)
