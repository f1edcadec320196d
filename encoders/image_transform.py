"""ImageTransform: RGB frames in, the pixel values out that a vision tower was trained on.

Done with torch alone on the model's device; equal to transformers' Pillow image processors but for
the rounding of `picture_resize`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from encoders.picture_resize import check_resample, resize
from encoders.preprocessor_config import PreprocessorConfig

Size = tuple[int, int]
"""Height and width in pixels."""

_MAX_SIDE = 4096  # of any resized picture, as in transformers' SmolVLM processors


class ImageTransform:
    """Resizes, rescales and normalises as one checkpoint's files say."""

    def __init__(self, config: PreprocessorConfig, device: torch.device) -> None:
        check_resample(config.resample, str(config.path))
        self._config = config
        self._device = device
        mean = torch.tensor(config.image_mean, dtype=torch.float32, device=device)
        std = torch.tensor(config.image_std, dtype=torch.float32, device=device)
        self._mean, self._std = mean[:, None, None], std[:, None, None]

    def __call__(
        self, picture: UInt8[np.ndarray, "height width 3"], sizes: Sequence[Size]
    ) -> Float[Tensor, "3 new_height new_width"]:
        """Resize to each of `sizes` in turn, then normalise."""
        pixels = torch.tensor(np.ascontiguousarray(picture), device=self._device)
        pixels = pixels.permute(2, 0, 1)[None]
        for size in sizes:
            pixels = resize(pixels, size, self._config.resample)
        return (pixels[0] * self._config.rescale_factor - self._mean) / self._std


def longest_edge_size(size: Size, edge: int) -> Size:
    """SmolVLM's rule: the longer side becomes `edge`, the other keeps the shape, made even."""
    height, width = size
    edge = min(edge, _MAX_SIDE)
    shape = width / height  # divided and multiplied as transformers does: it rounds downwards
    if width >= height:
        return _even(edge / shape), edge
    return edge, _even(edge * shape)


def _even(side: float) -> int:
    return max(int(side) + int(side) % 2, 1)
