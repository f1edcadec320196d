"""SmolVLMVision: frames in, the visual tokens of SmolVLM's tower and connector out."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from encoders.frame import Frame
from encoders.image_transform import ImageTransform, Size


class SmolVLMVision:
    """One picture a frame, never split into tiles.

    The tower is called directly: `get_image_features` takes pictures of zeros, which plain grey
    frames are, for padding and drops them from a batch.
    """

    def __init__(self, model: PreTrainedModel, transform: ImageTransform) -> None:
        self._model = model
        self._transform = transform

    @torch.no_grad()
    def __call__(
        self, frames: Sequence[Frame], sizes: Sequence[Sequence[Size]]
    ) -> Float[Tensor, "frames tokens d_model"]:
        """Encode frames in one pass; `sizes` are the sizes each is resized to in turn.

        The last size must be the same for all.
        """
        pixels = torch.stack(
            [self._transform(frame.pixels, s) for frame, s in zip(frames, sizes, strict=True)]
        )
        core = self._model.model
        hidden = core.vision_model(pixel_values=pixels.to(self._model.dtype)).last_hidden_state
        features: Tensor = core.connector(hidden)
        return features
