"""KeepPolicy: how new blocks are kept, and which must never become coarser or go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from memory.ageing import AgeingStep, AgingBlocks, next_step
from memory.block_store import Span
from memory.kv_block import KVBlock
from memory.policy_state import State


@dataclass(frozen=True)
class KeepPolicy:
    """`keep_newest` counts blocks: what the local window and the recent window still need.

    Blocks older than `retain_s` go, span by span, and those that are not among the newest
    `keep_blocks`; None: as long as the budget allows. `age` says what ages over a budget.
    """

    codec: str
    keep_newest: int = 0
    retain_s: float | None = None
    keep_blocks: int | None = None
    age: Callable[[Sequence[Span], AgingBlocks], AgeingStep | None] = next_step
    index_vectors: Callable[[Tensor], Tensor] | None = None
    """What a block's keys are found by besides their mean; see `MemoryPolicy.index_vectors`."""
    rewrite: Callable[[KVBlock, int, State], KVBlock] | None = None
    """See `MemoryPolicy.rewrite`."""
