"""SmolVLMVision: frames in, the visual tokens of SmolVLM's tower and connector out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encoders.frame import Frame
from encoders.images import ImageTransform, Size

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SmolVLMVision:
    """One picture a frame, never split into tiles.

    The tower is run part by part, for two flaws of transformers: `get_image_features` takes
    pictures of zeros, which plain grey frames can be, for padding and drops them from a batch; and
    before 5.22 the tower rounds the places of patches to half precision, to the wrong patch.
    """

    def __init__(self, model: "PreTrainedModel", transform: ImageTransform) -> None:
        self._tower: Any = model.model.vision_model
        self._connector: Any = model.model.connector
        self._dtype = model.dtype
        self._transform = transform
        side = self._tower.config.image_size // self._tower.config.patch_size
        self._positions = _patch_positions(side).to(model.device)

    @torch.no_grad()
    def __call__(
        self, frames: Sequence[Frame], sizes: Sequence[Sequence[Size]]
    ) -> Float[Tensor, "frames tokens d_model"]:
        """Encode frames in one pass; `sizes` are the sizes each is resized to in turn.

        The last size must be the tower's own.
        """
        hidden = self.patches(frames, sizes)
        features: Tensor = self._connector(self._tower.post_layernorm(hidden))
        return features

    @torch.no_grad()
    def patches(
        self, frames: Sequence[Frame], sizes: Sequence[Sequence[Size]]
    ) -> Float[Tensor, "frames patches d_vision"]:
        """What the tower makes of the patches, before its last norm."""
        pixels = torch.stack(
            [self._transform(frame.pixels, s) for frame, s in zip(frames, sizes, strict=True)]
        )
        embeddings = self._tower.embeddings
        patches = embeddings.patch_embedding(pixels.to(self._dtype)).flatten(2).transpose(1, 2)
        hidden = patches + embeddings.position_embedding(self._positions)
        seen: Tensor = self._tower.encoder(inputs_embeds=hidden).last_hidden_state
        return seen


def _patch_positions(side: int) -> Int[Tensor, " patches"]:
    """Which learned position each patch takes, in reading order.

    Found in float32 as the towers were trained: for some sides (27) one row and column take their
    neighbour's.
    """
    places = (torch.arange(side, dtype=torch.float32) * (1 / torch.tensor(side))).clamp(
        max=1 - 1e-6
    )
    row = torch.bucketize(places, torch.arange(1 / side, 1.0, 1 / side), right=True)
    return (row[:, None] * side + row).flatten()
