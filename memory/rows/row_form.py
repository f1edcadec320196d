"""RowForm: what one encoded row (one layer of one block) holds and which codec made it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

EncodedRows = UInt8[Tensor, "rows row_bytes"]
OfBlock = Float[Tensor, "layers kv_heads tokens head_dim"]
OfLayer = Float[Tensor, "kv_heads tokens head_dim"]
KeysAndValues = tuple[OfLayer, OfLayer]
"""Of one layer of one block, or of several blocks one after the other."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The dtypes that a block may come in, by the name under which a record stores them."""


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
