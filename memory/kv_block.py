"""KVBlock: the keys and values of one frame or temporal grid in all layers, immutable.

Also checks whether a block fits its stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memory.block_info import DTYPE_NAMES, BlockInfo, Provenance
from memory.errors import BlockRejectedError

EncodedRows = UInt8[Tensor, "rows row_bytes"]
OfBlock = Float[Tensor, "layers kv_heads tokens head_dim"]
OfLayer = Float[Tensor, "kv_heads tokens head_dim"]
KeysAndValues = tuple[OfLayer, OfLayer]
"""Of one layer of one block, or of several blocks concatenated."""
DTYPES = {name: getattr(torch, name) for name in DTYPE_NAMES}
"""The dtypes a block may have, by the name under which a record stores them."""


@dataclass(frozen=True, eq=False)
class KVBlock:
    """Keys (before RoPE) and values of one block, as the decoder computed them, and a JPEG."""

    info: BlockInfo
    keys: Float[Tensor, "layers kv_heads tokens head_dim"]
    values: Float[Tensor, "layers kv_heads tokens head_dim"]
    thumbnail: bytes = b""
    index: Float[Tensor, "layers vectors kv_heads*head_dim"] | None = None
    """The vectors that a search compares; the first represents the block. None: its mean key."""
    left: "Mapping[int, Float[Tensor, 'layers heads*head_dim']]" = field(default_factory=dict)
    """Head vectors of the blocks that left the window as it arrived; see `memory.head_vectors`."""

    @property
    def span(self) -> tuple[float, float]:
        """Start and end in seconds of stream time."""
        return self.info.start_s, self.info.end_s

    def __repr__(self) -> str:
        dtype = str(self.keys.dtype).removeprefix("torch.")
        return f"KVBlock(span={self.span}, keys and values {list(self.keys.shape)} {dtype})"


def require_fitting(block: KVBlock, provenance: Provenance, block_id: int) -> None:
    """Raise BlockRejectedError if shapes or dtypes differ from the stream's."""
    info = block.info
    wanted = (provenance.layers, provenance.kv_heads, info.num_tokens, provenance.head_dim)
    where = f"memory: block {block_id}"
    for name, tensor in (("keys", block.keys), ("values", block.values)):
        if tuple(tensor.shape) != wanted or info.num_tokens == 0:
            raise BlockRejectedError(
                f"{where}: {name} have shape {tuple(tensor.shape)}, this stream wants "
                f"[layers, kv_heads, tokens >= 1, head_dim] = {wanted}"
            )
    if block.keys.dtype not in DTYPES.values() or block.values.dtype != block.keys.dtype:
        raise BlockRejectedError(
            f"{where}: keys are {block.keys.dtype}, values {block.values.dtype}; both must be "
            f"the same, one of {', '.join(DTYPES)}"
        )


def require_in_order(info: BlockInfo, block_id: int, last_end_s: Sequence[float]) -> None:
    """Raise BlockRejectedError if a time is not finite or the block ends before the last one."""
    where = f"memory: block {block_id}"
    if not all(isfinite(time_s) for time_s in (info.start_s, info.end_s, info.captured_at)):
        raise BlockRejectedError(
            f"{where}: start {info.start_s} s, end {info.end_s} s and capture time "
            f"{info.captured_at} must be finite"
        )
    if last_end_s and info.end_s < last_end_s[-1]:
        raise BlockRejectedError(
            f"{where}: ends at {info.end_s} s, before the block ahead of it "
            f"({last_end_s[-1]} s); blocks are appended in stream order"
        )
