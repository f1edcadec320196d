"""BlockCodec: keys and values of a block in, one row of bytes for each layer out, and back."""

from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from memory.codec.float_codec import FloatCodec
from memory.codec.integer_codec import IntegerCodec
from memory.codec.row_layout import RowLayout
from memory.errors import StoreError


class BlockCodec(Protocol):
    """One file a kind of codec. Stateless: what decoding needs is in the row and its layout."""

    @property
    def name(self) -> str: ...

    def row_bytes(self, layout: RowLayout) -> int:
        """Length of one encoded row."""
        ...

    def encode(
        self,
        keys: Float[Tensor, "layers kv_heads tokens head_dim"],
        values: Float[Tensor, "layers kv_heads tokens head_dim"],
    ) -> UInt8[Tensor, "layers row_bytes"]:
        """One row for each layer, on the device of the keys.

        Raises BlockRejectedError if a number is not finite or beyond what the codec can keep.
        """
        ...

    def decode(
        self,
        rows: UInt8[Tensor, "blocks row_bytes"],
        layout: RowLayout,
        dtype: torch.dtype,
    ) -> tuple[
        Float[Tensor, "kv_heads blocks*tokens head_dim"],
        Float[Tensor, "kv_heads blocks*tokens head_dim"],
    ]:
        """Keys and values of rows of one layout, one after the other, on the device of the rows."""
        ...


_CODECS: dict[str, BlockCodec] = {
    "int8": IntegerCodec("int8", bits=8),
    "int4": IntegerCodec("int4", bits=4, max_group_tokens=64, max_group_dims=32),
    "bf16": FloatCodec("bf16", torch.bfloat16),
    "exact": FloatCodec("exact", None),
}


def codec_named(name: str) -> BlockCodec:
    """The codec of that name. Raises StoreError, listing the known names."""
    try:
        return _CODECS[name]
    except KeyError:
        known = ", ".join(_CODECS)
        raise StoreError(f"memory: no codec is called {name!r}; known: {known}") from None
