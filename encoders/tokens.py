"""Tokens: the decoder's input for a block or a text."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from encoders.frame import Frame


@dataclass(frozen=True, eq=False)
class VisualTokens:
    """The decoder input of one frame or temporal grid, woven text (timestamps) included.

    `positions` are relative to the block's base position, one row per rotary axis (1 for plain
    RoPE; 3 for M-RoPE: time, height, width). `advance` is the distance to the next block's base.
    `is_visual` is False for woven text. `deepstack` holds the features that Qwen3-VL adds to the
    hidden states of its first layers, for visual tokens only.
    """

    embeddings: Float[Tensor, "tokens d_model"]
    positions: Int[Tensor, "axes tokens"]
    advance: Int[Tensor, " axes"]
    is_visual: Bool[Tensor, " tokens"]
    start_s: float
    end_s: float
    deepstack: Float[Tensor, "depth visual d_model"] | None = None


def one_frame_block(
    frame: Frame, embeddings: Float[Tensor, "tokens d_model"], is_visual: Bool[Tensor, " tokens"]
) -> VisualTokens:
    """Return the block of one frame in a family with one rotary axis: consecutive positions."""
    tokens = len(embeddings)
    return VisualTokens(
        embeddings=embeddings,
        positions=torch.arange(tokens)[None],
        advance=torch.tensor([tokens]),
        is_visual=is_visual,
        start_s=frame.stream_s,
        end_s=frame.stream_s,
    )


@dataclass(frozen=True, eq=False)
class TextTokens:
    """Text as decoder input: the prefix before the first block, or a question after the last.

    `is_question` marks the tokens of the question's own words, not of template or dialogue. `ids`
    are vocabulary ids, -1 for a token without one; None if unknown. Each token advances every
    rotary axis by one.
    """

    embeddings: Float[Tensor, "tokens d_model"]
    is_question: Bool[Tensor, " tokens"]
    ids: Int[Tensor, " tokens"] | None = None


def weave(
    before: Float[Tensor, "text d_model"],
    visual: Float[Tensor, "visual d_model"],
    after: Float[Tensor, "more_text d_model"] | None = None,
) -> tuple[Float[Tensor, "tokens d_model"], Bool[Tensor, " tokens"]]:
    """Return the embeddings in reading order, and which of them are visual."""
    parts = [before, visual] if after is None else [before, visual, after]
    is_visual = torch.zeros(sum(map(len, parts)), dtype=torch.bool, device=visual.device)
    is_visual[len(before) : len(before) + len(visual)] = True
    return torch.cat(parts), is_visual
