"""FloatCodec: keeps keys and values as floating-point numbers, exact or rounded to one dtype."""

from typing import ClassVar

import torch

from memory.block_info import RowLayout
from memory.codecs.codec import BlockCodec
from memory.errors import BlockRejectedError
from memory.kv_block import EncodedRows, KeysAndValues, OfBlock


class FloatCodec(BlockCodec):
    """A row is the keys of one layer, then its values. `kept` None keeps the block's own dtype."""

    kept: ClassVar[torch.dtype | None] = None

    def row_bytes(self, layout: RowLayout) -> int:
        return 2 * layout.numel * (self.kept or layout.dtype).itemsize

    def encode(self, keys: OfBlock, values: OfBlock) -> EncodedRows:
        both = torch.stack((keys, values), dim=1).to(self.kept or keys.dtype)
        if not torch.isfinite(both).all():
            raise BlockRejectedError(
                f"codec {self.name}: keys or values hold inf or nan; look for the cause in the "
                "model's dtype or weights"
            )
        return both.flatten(1).view(torch.uint8)

    def decode(self, rows: EncodedRows, layout: RowLayout, dtype: torch.dtype) -> KeysAndValues:
        kept = rows.view(self.kept or layout.dtype)
        both = kept.view(-1, 2, layout.kv_heads, layout.tokens, layout.head_dim)
        # The layout is changed before the dtype, so that the results are always contiguous.
        keys, values = (
            part.transpose(0, 1).flatten(1, 2).contiguous().to(dtype) for part in both.unbind(1)
        )
        return keys, values
