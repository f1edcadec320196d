"""require_fitting: a block to be appended in; refused by name if it does not fit the stream."""

from collections.abc import Sequence
from math import isfinite

from memory.errors import BlockRejectedError
from memory.kv_block import BlockInfo, KVBlock
from memory.provenance import Provenance
from memory.rows.row_form import DTYPES


def require_fitting(block: KVBlock, provenance: Provenance, block_id: int) -> None:
    """Raises BlockRejectedError for other shapes and dtypes than the stream's."""
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
    """Raises BlockRejectedError for times that are not finite or before those of the last block."""
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
