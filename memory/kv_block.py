"""KVBlock: the keys and values of one frame or temporal grid in all layers, immutable."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class BlockInfo:
    """What is known of a block without touching its keys and values.

    `positions` (relative to the block's base) and `advance` are as the encoder gave them, for the
    tokens that were kept.
    """

    start_s: float
    end_s: float
    captured_at: float
    positions: Int[Tensor, "axes tokens"]
    advance: Int[Tensor, " axes"]

    @property
    def num_tokens(self) -> int:
        return int(self.positions.shape[1])


@dataclass(frozen=True, eq=False)
class KVBlock:
    """Keys (before RoPE) and values of one block, as the decoder made them, and a JPEG."""

    info: BlockInfo
    keys: Float[Tensor, "layers kv_heads tokens head_dim"]
    values: Float[Tensor, "layers kv_heads tokens head_dim"]
    thumbnail: bytes = b""
    index: Float[Tensor, "layers vectors kv_heads*head_dim"] | None = None
    """What a search compares; the first stands for the block. None: the mean of its keys."""
