"""weave: a block's visual tokens and the text around them in, one run of decoder input out."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Woven:
    """`is_visual` is False for the text."""

    embeddings: Float[Tensor, "tokens d_model"]
    is_visual: Bool[Tensor, " tokens"]


def weave(
    before: Float[Tensor, "text d_model"],
    visual: Float[Tensor, "visual d_model"],
    after: Float[Tensor, "more_text d_model"] | None = None,
) -> Woven:
    """Join them in reading order."""
    parts = [before, visual] if after is None else [before, visual, after]
    is_visual = torch.zeros(sum(map(len, parts)), dtype=torch.bool, device=visual.device)
    is_visual[len(before) : len(before) + len(visual)] = True
    return Woven(torch.cat(parts), is_visual)
