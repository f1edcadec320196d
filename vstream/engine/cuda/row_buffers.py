"""RowBuffers: what the answers that are being decoded hold, a row each, in buffers that never move.

[layer, row, kv_head, slot, head_dim]. How far each row is filled, and at which position its next
token stands, are tensors layer by layer, because layers may hold different numbers of tokens.
"""

import torch
from torch import Tensor

from vstream.engine.decoder import Decoder

_SLOTS = 256
"""Buffers are as long as the longest of what they hold needs, in multiples of this ..."""
_MORE = 1.25
"""... and longer by this factor at least when they have to grow."""


def roomy(needed: int, slots: int) -> int:
    """How long buffers of `slots` become for `needed`: more, so that few graphs are recorded."""
    return (max(needed, int(_MORE * slots)) // _SLOTS + 1) * _SLOTS


class RowBuffers:
    """Nothing in it is ever replaced: graphs know it by its address."""

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
        """Of each row's token in the last step, before RoPE and scaled, in the layers looked at."""
        self.window = torch.full((num_rows,), -1, device=decoder.device)
        """Which of the shared windows a row goes on from; -1: none, it holds all by itself."""

    def write(self, row: int, layer: int, keys: Tensor, values: Tensor, next_text: int) -> None:
        tokens = keys.shape[1]
        for buffer, own in ((self.keys, keys), (self.values, values)):
            buffer[layer, row, :, :tokens] = own
            buffer[layer, row, :, tokens:] = 0  # what is masked must still be a number
        self.filled[layer, row].fill_(tokens)  # a number that is assigned is waited for on a card
        self.next_text[layer, row].fill_(next_text)

    def begin(self, row: int, window: int | None) -> None:
        """Everything that the row held is another answer's from now on."""
        self.window[row].fill_(-1 if window is None else window)

    def copy(self, before: "RowBuffers") -> None:
        """Rows and slots of a smaller one."""
        rows, slots = before.num_rows, before.num_slots
        self.keys[:, :rows, :, :slots] = before.keys
        self.values[:, :rows, :, :slots] = before.values
        self.filled[:, :rows], self.next_text[:, :rows] = before.filled, before.next_text
        self.window[:rows] = before.window

    def move(self, source: int, target: int) -> None:
        for buffer in (self.keys, self.values, self.filled, self.next_text):
            buffer[:, target] = buffer[:, source]
        self.window[target] = self.window[source]
