"""Positions: place the tokens of a context, and rotate queries and keys to their places.

A context is [prefix | blocks in stream order | text], contiguous. A block keeps positions relative
to a base; laying blocks one after another only moves the bases. The text after them starts past
every position used so far on any axis. That is the rule of Qwen2-VL ("max + 1"); get_rope_index of
newer transformers places text after a video differently for Qwen2.5-VL, so positions are never
taken from there.

Source: RoFormer (https://arxiv.org/abs/2104.09864); M-RoPE: Qwen2-VL
(https://arxiv.org/abs/2409.12191, section 2.1); interleaved M-RoPE: Qwen3-VL.

    angle[token, f] = position[axis(f), token] * inv_freq[f]
    rotated         = x * cos(angle) + rotate_half(x) * sin(angle)
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig

STATIC_ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})
"""Rope types whose frequencies do not depend on the length of the sequence."""


class Placed(Protocol):
    """What the layout needs to know about a block; VisualTokens and BlockInfo both have it."""

    @property
    def positions(self) -> Int[Tensor, "axes tokens"]: ...
    @property
    def advance(self) -> Int[Tensor, " axes"]: ...


def text_positions(
    start: int, tokens: int, axes: int, device: torch.device | None = None
) -> Int[Tensor, "axes tokens"]:
    """Return the positions of text, which advances every axis by one per token."""
    return torch.arange(start, start + tokens, device=device).expand(axes, tokens)


def lay_out(
    prefix_tokens: int, blocks: Sequence[Placed], axes: int
) -> tuple[Int[Tensor, "axes tokens"], int]:
    """Return the positions of [prefix | blocks], from 0 on, and the position where text goes on."""
    prefix = text_positions(0, prefix_tokens, axes)
    if not blocks:
        return prefix, prefix_tokens
    advances = torch.stack([block.advance for block in blocks], dim=1)
    bases = prefix_tokens + advances.cumsum(dim=1) - advances
    counts = torch.tensor([block.positions.shape[1] for block in blocks])
    relative = torch.cat([block.positions for block in blocks], dim=1)
    placed = relative + bases.repeat_interleave(counts, dim=1)
    return torch.cat([prefix, placed], dim=1), int(placed.max()) + 1


class Rope:
    """The rotation of one decoder. Angles are computed in float32 whatever the dtype of `x`."""

    def __init__(self, inv_freq: Float[Tensor, " half"], axis_of_frequency: Int[Tensor, " half"]):
        self.inv_freq = inv_freq.float()
        self.axis_of_frequency = axis_of_frequency.to(inv_freq.device)

    def on_host(self) -> "Rope":
        """Return the same rotation for tensors in host memory."""
        return Rope(self.inv_freq.cpu(), self.axis_of_frequency.cpu())

    def rotate(
        self, x: Float[Tensor, "heads tokens head_dim"], positions: Int[Tensor, "axes tokens"]
    ) -> Float[Tensor, "heads tokens head_dim"]:
        """Rotate `x` to `positions`; the result has the dtype of `x`."""
        angle = positions[self.axis_of_frequency].float().T * self.inv_freq
        cos, sin = angle.cos(), angle.sin()
        first, second = x.float().chunk(2, dim=-1)
        rotated = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
        return rotated.to(x.dtype)


def rope_of(rotary: nn.Module, config: "PretrainedConfig") -> Rope:
    """Return a decoder's rotation. Raises ValueError if it depends on the sequence length."""
    parameters = config.rope_parameters
    rope_type = parameters.get("rope_type", "default")
    if rope_type not in STATIC_ROPE_TYPES:
        known = ", ".join(sorted(STATIC_ROPE_TYPES))
        raise ValueError(f"rope type {rope_type!r} depends on the sequence length (known: {known})")
    inv_freq: Tensor = rotary.inv_freq  # type: ignore[assignment]
    return Rope(inv_freq, _axis_of_frequency(inv_freq.numel(), parameters, config.model_type))


def _axis_of_frequency(half: int, parameters: dict[str, Any], model_type: str) -> Tensor:
    section = parameters.get("mrope_section")
    if section is None:
        return torch.zeros(half, dtype=torch.long)
    _, height, width = section
    axis = torch.zeros(half, dtype=torch.long)
    if parameters.get("mrope_interleaved") or model_type.startswith("qwen3_vl"):
        axis[1 : 3 * height : 3] = 1
        axis[2 : 3 * width : 3] = 2
    else:
        axis[half - height - width : half - width] = 1
        axis[half - width :] = 2
    return axis
