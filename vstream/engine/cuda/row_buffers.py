"""RowBuffers: what the answers being decoded hold, a row each, in buffers that never move.

[layer, row, kv_head, slot, head_dim]. How far each row is filled, and the position of its next
token, are tensors for each layer, because layers may hold different numbers of tokens.
"""

import torch
from torch import Tensor

from vstream.engine.decoder import Decoder

_SLOTS = 256
"""Buffers are as long as the longest of their contents needs, in multiples of this ..."""
_MORE = 1.25
"""... and grow at least by this factor."""


def roomy(needed: int, slots: int) -> int:
    """Return the new length of buffers of `slots`: more than `needed`, to record few graphs."""
    return (max(needed, int(_MORE * slots)) // _SLOTS + 1) * _SLOTS


class RowBuffers:
    """Nothing in it is ever replaced: graphs hold its addresses."""

    def __init__(self, decoder: Decoder, num_rows: int, num_slots: int) -> None:
        self.num_rows, self.num_slots = num_rows, num_slots
        shape = (decoder.num_layers, num_rows, decoder.kv_heads, num_slots, decoder.head_dim)
        self.keys, self.values, self.embeddings = (
            torch.zeros(size, dtype=decoder.dtype, device=decoder.device)
            for size in (shape, shape, (num_rows, decoder.d_model))
        )
        counts = (decoder.num_layers, num_rows)
        self.filled, self.next_text = (
            torch.zeros(counts, dtype=torch.long, device=decoder.device) for _ in range(2)
        )
        self.moves = torch.zeros(num_rows, dtype=torch.long, device=decoder.device)
        """1 for rows that have a token in this step."""
        self.queries = torch.zeros(
            (decoder.num_layers, num_rows, decoder.num_heads, decoder.head_dim),
            dtype=decoder.dtype,
            device=decoder.device,
        )
        """Of each row's last token, before RoPE and scaled, in the layers that are collected."""
        self.window = torch.full((num_rows,), -1, device=decoder.device)
        """The shared window that a row continues; -1: none, the row holds everything itself."""

    def write(self, row: int, layer: int, keys: Tensor, values: Tensor, next_text: int) -> None:
        tokens = keys.shape[1]
        for buffer, own in ((self.keys, keys), (self.values, values)):
            buffer[layer, row, :, :tokens] = own
            buffer[layer, row, :, tokens:] = 0  # what is masked must still be a number
        self.filled[layer, row].fill_(tokens)  # assigning a number would wait for the GPU
        self.next_text[layer, row].fill_(next_text)

    def begin(self, row: int, window: int | None) -> None:
        """Give the row to another answer, which continues the shared `window`."""
        self.window[row].fill_(-1 if window is None else window)

    def copy(self, before: "RowBuffers") -> None:
        """Copy the rows and slots of smaller buffers."""
        rows, slots = before.num_rows, before.num_slots
        self.keys[:, :rows, :, :slots] = before.keys
        self.values[:, :rows, :, :slots] = before.values
        self.filled[:, :rows], self.next_text[:, :rows] = before.filled, before.next_text
        self.window[:rows] = before.window

    def move(self, source: int, target: int) -> None:
        for buffer in (self.keys, self.values, self.filled, self.next_text):
            buffer[:, target] = buffer[:, source]
        self.window[target] = self.window[source]
