"""KVBlock: the keys and values of one frame or temporal grid in all layers, immutable.

Beside it stand its Provenance, what its encoded rows are like, one a layer, and whether it fits a
stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from math import isfinite
from typing import Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from memory.errors import BlockRejectedError, FingerprintMismatchError

EncodedRows = UInt8[Tensor, "rows row_bytes"]
OfBlock = Float[Tensor, "layers kv_heads tokens head_dim"]
OfLayer = Float[Tensor, "kv_heads tokens head_dim"]
KeysAndValues = tuple[OfLayer, OfLayer]
"""Of one layer of one block, or of several blocks one after the other."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The dtypes that a block may come in, by the name under which a record stores them."""
_DIGEST = "digest:"


@dataclass(frozen=True)
class Provenance:
    """Blocks that differ in it cannot be mixed. `fingerprint` stands for model and settings."""

    fingerprint: str
    layers: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of_digest(cls, digest: bytes, layers: int, kv_heads: int, head_dim: int) -> Self:
        """Of a fingerprint that is known by its digest alone; see `is_whole`."""
        return cls(_DIGEST + digest.hex(), layers, kv_heads, head_dim)

    @property
    def is_whole(self) -> bool:
        """Whether the fingerprint is more than a digest."""
        return not self.fingerprint.startswith(_DIGEST)

    @cached_property
    def digest(self) -> bytes:
        """8 bytes for the fingerprint."""
        if not self.is_whole:
            return bytes.fromhex(self.fingerprint.removeprefix(_DIGEST))
        return blake2b(self.fingerprint.encode(), digest_size=8).digest()

    def require_same(self, stored: "Provenance", where: str) -> None:
        """Raises FingerprintMismatchError naming what was stored, what is wanted, and the fix.

        A fingerprint is the same as its digest.
        """
        is_short = not (self.is_whole and stored.is_whole)
        if is_short and self.digest == stored.digest:
            stored = replace(stored, fingerprint=self.fingerprint)
        if self != stored:
            made, wanted = asdict(stored), asdict(self)
            differing = [
                f"{name} {made[name]!r} is stored, {wanted[name]!r} is wanted"
                for name in made
                if made[name] != wanted[name]
            ]
            raise FingerprintMismatchError(
                f"{where}: the blocks were made otherwise: {'; '.join(differing)}. Open them with "
                "the model and settings that made them, or choose another stream id or store"
            )


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
    left: "Mapping[int, Float[Tensor, 'layers heads*head_dim']]" = field(default_factory=dict)
    """Head vectors of the blocks that left the window as it came; see `memory.head_vectors`."""


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


@dataclass(frozen=True)
class RowLayout:
    """Rows of equal layout can be decoded together. `dtype` is the block's own."""

    kv_heads: int
    tokens: int
    head_dim: int
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Numbers in the keys of one layer (and as many again in its values)."""
        return self.kv_heads * self.tokens * self.head_dim

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class RowForm:
    """A codec's name and the layout of what it encoded."""

    codec: str
    layout: RowLayout
