"""MemoryStats: how much of a stream is kept, where, and what happened to the rest."""

from dataclasses import dataclass, field

from memory.ageing import AgeingCounts


@dataclass(frozen=True)
class MemoryStats:
    """`from_s` to `to_s` spans the readable blocks; both are 0 without blocks. `seconds_by_tier` is
    the stream time those blocks represent: see MemoryReader.

    `dropped` counts all blocks that can no longer be read; `ageing` says what happened to blocks
    since the memory was opened. `cut_bytes` is what a crashed writer had left after the last block;
    `waiting` counts the newest blocks, not yet acknowledged by the store. `damaged` counts places
    with damaged or missing blocks, found when the memory was opened or since.
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
