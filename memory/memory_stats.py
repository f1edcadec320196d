"""MemoryStats: how much of a stream is kept, where, and what happened to the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from memory.ageing import AgeingCounts
from memory.fault import Fault


@dataclass(frozen=True)
class MemoryStats:
    """`from_s` to `to_s` spans the readable blocks; both are 0 without blocks. `seconds_by_tier` is
    the stream time those blocks represent: see MemoryReader.

    `dropped` counts all blocks that can no longer be read; `ageing` says what happened to blocks
    since the memory was opened. `cut_bytes` is what a crashed writer had left after the last block;
    `waiting` counts the newest blocks, not yet acknowledged by the store. `damage` lists where
    blocks were found damaged or missing, when the memory was opened or since.
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
    damage: Sequence[Fault] = ()
    ageing: AgeingCounts = field(default_factory=AgeingCounts)

    @property
    def damaged(self) -> int:
        """How many places these are."""
        return len(self.damage)

    @property
    def lost(self) -> int:
        """How many blocks they cost, at most."""
        return sum(fault.blocks for fault in self.damage)
