"""Where the tokens of a context stand: [prefix | blocks in stream order | text], contiguous.

A block keeps positions relative to a base; laying blocks one after another only moves the bases.
The text after them starts past every position used so far on any axis. That is the rule of
Qwen2-VL ("max + 1"); get_rope_index of newer transformers places text after a video differently
for Qwen2.5-VL, so positions are never taken from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor


class Placed(Protocol):
    """What the layout needs to know of a block (VisualTokens and BlockInfo both have it)."""

    @property
    def positions(self) -> Int[Tensor, "axes tokens"]: ...
    @property
    def advance(self) -> Int[Tensor, " axes"]: ...


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions of [prefix | blocks] and the position where text would go on."""

    positions: Int[Tensor, "axes tokens"]
    next_text: int


def text_positions(
    start: int, tokens: int, axes: int, device: torch.device | None = None
) -> Int[Tensor, "axes tokens"]:
    """Text advances every axis by one a token."""
    return torch.arange(start, start + tokens, device=device).expand(axes, tokens)


def lay_out(prefix_tokens: int, blocks: Sequence[Placed], axes: int) -> Layout:
    """Lay `blocks` behind a prefix of `prefix_tokens` tokens that starts at position 0."""
    prefix = text_positions(0, prefix_tokens, axes)
    if not blocks:
        return Layout(prefix, prefix_tokens)
    advances = torch.stack([block.advance for block in blocks], dim=1)
    bases = prefix_tokens + advances.cumsum(dim=1) - advances
    counts = torch.tensor([block.positions.shape[1] for block in blocks])
    relative = torch.cat([block.positions for block in blocks], dim=1)
    placed = relative + bases.repeat_interleave(counts, dim=1)
    return Layout(torch.cat([prefix, placed], dim=1), int(placed.max()) + 1)
