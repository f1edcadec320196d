"""Frames of training in another light and sharpness, and the visual tokens of a model."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import SmolVLMForConditionalGeneration

BLURRED_SHARE = 0.35


def augmented(
    pixels: Float[Tensor, "frames 3 height width"], clip_frames: int, generator: torch.Generator
) -> Float[Tensor, "frames 3 height width"]:
    """Each clip of `clip_frames` frames is changed in one way, and some of them blurred."""
    clips = pixels.view(-1, clip_frames, *pixels.shape[1:])
    num_clips = len(clips)

    def drawn(low: float, high: float, channels: int = 1) -> Tensor:
        shape = (num_clips, 1, channels, 1, 1)
        return (torch.rand(shape, generator=generator) * (high - low) + low).to(pixels.device)

    clips = clips * drawn(0.8, 1.2) * drawn(0.92, 1.08, channels=3) + drawn(-0.08, 0.08)
    noise = torch.randn(clips.shape, generator=generator).to(pixels.device)
    changed = (clips + drawn(0, 0.05) * noise).clamp(0, 1)
    is_blurred = torch.rand(num_clips, generator=generator) < BLURRED_SHARE
    if is_blurred.any():
        scale = float(torch.empty(1).uniform_(0.55, 0.9, generator=generator))
        sharp = changed[is_blurred.to(pixels.device)].flatten(0, 1)
        small = F.interpolate(sharp, scale_factor=scale, mode="bilinear")
        blurred = F.interpolate(small, size=sharp.shape[-2:], mode="bilinear")
        changed[is_blurred.to(pixels.device)] = blurred.view(-1, *clips.shape[1:])
    return changed.flatten(0, 1)


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
