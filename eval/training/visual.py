"""visual_tokens: normalised frames in, the visual tokens of a model under training out."""

from jaxtyping import Float
from torch import Tensor
from transformers import SmolVLMForConditionalGeneration


def visual_tokens(
    model: SmolVLMForConditionalGeneration, pixels: Float[Tensor, "frames 3 height width"]
) -> Float[Tensor, "frames tokens d_model"]:
    """The visual tokens of normalised frames.

    The tower is called directly: `get_image_features` drops frames whose pixels are all zero,
    which are plain grey ones.
    """
    core = model.model
    visual: Tensor = core.connector(core.vision_model(pixel_values=pixels).last_hidden_state)
    return visual
