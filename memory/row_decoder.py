"""RowDecoder: encoded rows of one layer in, their keys and values in one piece out."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from memory.block_codec import BlockCodec
from memory.row_layout import RowLayout


@dataclass(frozen=True)
class RowDecoder:
    """Decodes rows of equal layout together, on the device where the result is wanted."""

    codec: BlockCodec
    kv_heads: int
    head_dim: int

    def decode(
        self,
        rows: Sequence[bytes],
        layouts: Sequence[RowLayout],
        dtype: torch.dtype,
        device: torch.device,
    ) -> tuple[
        Float[Tensor, "kv_heads tokens head_dim"],
        Float[Tensor, "kv_heads tokens head_dim"],
    ]:
        """Row after row, in the order given."""
        alike: dict[RowLayout, list[int]] = defaultdict(list)
        for place, layout in enumerate(layouts):
            alike[layout].append(place)
        if len(alike) == 1:
            return self._decode_alike(rows, layouts[0], dtype, device)

        ends = torch.tensor([layout.tokens for layout in layouts], dtype=torch.int64).cumsum(0)
        total = int(ends[-1]) if len(layouts) else 0
        keys = torch.empty(self.kv_heads, total, self.head_dim, dtype=dtype, device=device)
        values = torch.empty_like(keys)
        for layout, places in alike.items():
            of_group = self._decode_alike([rows[at] for at in places], layout, dtype, device)
            starts = ends[places] - layout.tokens
            tokens = (starts[:, None] + torch.arange(layout.tokens)).flatten().to(device)
            keys[:, tokens], values[:, tokens] = of_group
        return keys, values

    def _decode_alike(
        self, rows: Sequence[bytes], layout: RowLayout, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        # Joined in one copy, and moved as bytes: the fewest that can cross to a GPU.
        joined = torch.frombuffer(bytearray().join(rows), dtype=torch.uint8)
        return self.codec.decode(joined.view(len(rows), -1).to(device), layout, dtype)
