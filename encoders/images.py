"""Images: turns RGB frames into pixel values for a vision tower, or into thumbnails.

SmolVLMVision continues to the visual tokens of the tower that two families share.

Resizing matches Pillow's, but uses only torch, on the model's device. It is antialiased: shrinking
widens the filter. It makes two passes, width first, rounding to 8 bits in between, as Pillow before
13 does (newer versions take the cheaper pass first, which only shows at overshooting edges). A few
pixels differ from Pillow by one level of 255; otherwise the results equal those of transformers'
Pillow image processors.
"""

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from encoders.errors import UnsupportedModelError
from encoders.frame import Frame
from encoders.preprocessor_config import PreprocessorConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Size = tuple[int, int]

_MAX_SIDE = 4096  # of any resized picture, as in transformers' SmolVLM processors
LANCZOS, BILINEAR, BICUBIC = 1, 2, 3
"""Pillow's numbers, as the checkpoints' files have them."""

_TORCH_MODES = {BILINEAR: "bilinear", BICUBIC: "bicubic"}
_LANCZOS_LOBES = 3
LONGEST_SIDE_PX = 320
"""Enough to see on a web page what happened, and mostly 4 to 16 kB: a fraction of even the smallest
KV block. No other size is kept."""
_JPEG_QUALITY = 80


class ImageTransform:
    """Resizes, rescales and normalises as one checkpoint's files specify."""

    def __init__(self, config: PreprocessorConfig, device: torch.device) -> None:
        if config.resample != LANCZOS and config.resample not in _TORCH_MODES:
            raise UnsupportedModelError(
                f"{config.path}: resample {config.resample} is not supported, "
                f"only {LANCZOS} (Lanczos), {BILINEAR} (bilinear) and {BICUBIC} (bicubic)"
            )
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
    """Apply SmolVLM's rule: the longer side becomes `edge`, the other keeps the shape, even."""
    height, width = size
    edge = min(edge, _MAX_SIDE)
    shape = width / height  # the same operations as transformers, because rounding is down
    if width >= height:
        return _even(edge / shape), edge
    return edge, _even(edge * shape)


def _even(side: float) -> int:
    return max(int(side) + int(side) % 2, 1)


def resize(
    pictures: UInt8[Tensor, "frames 3 height width"], size: tuple[int, int], resample: int
) -> UInt8[Tensor, "frames 3 new_height new_width"]:
    """Resize to `size` (height, width) with one of Pillow's filters, on the pictures' device."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    if pictures.device.type == "cpu" and resample in _TORCH_MODES:
        # torch's integer path is just as exact and ten times faster.
        return F.interpolate(pictures, size, mode=_TORCH_MODES[resample], antialias=True)
    return resize_in_float(pictures, size, resample)


def resize_in_float(
    pictures: UInt8[Tensor, "frames 3 height width"], size: tuple[int, int], resample: int
) -> UInt8[Tensor, "frames 3 new_height new_width"]:
    """Resize in float32: all that GPUs can do, and Lanczos on any device."""
    narrowed = _to_bytes(_resize_width(pictures.float(), size[1], resample))
    return _to_bytes(_resize_width(narrowed.float().mT, size[0], resample).mT)


def _resize_width(pictures: Tensor, width: int, resample: int) -> Tensor:
    if resample == LANCZOS:  # torch has no such mode
        return pictures @ _lanczos_matrix(pictures.shape[-1], width, pictures.device).mT
    size = (pictures.shape[-2], width)
    return F.interpolate(pictures, size, mode=_TORCH_MODES[resample], antialias=True)


@lru_cache(maxsize=16)
def _lanczos_matrix(old: int, new: int, device: torch.device) -> Float[Tensor, "new old"]:
    """Return the weight of each old sample in each new one, on the device. Rows sum to one."""
    scale = max(old / new, 1.0)
    centers = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)
    offsets = (torch.arange(old, dtype=torch.float64) + 0.5 - centers[:, None]) / scale
    weights = torch.sinc(offsets) * torch.sinc(offsets / _LANCZOS_LOBES)
    weights[offsets.abs() >= _LANCZOS_LOBES] = 0
    return (weights / weights.sum(dim=1, keepdim=True)).float().to(device)


def _to_bytes(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255).to(torch.uint8)


def thumbnail(frame: Frame) -> bytes:
    """Return a JPEG of at most `LONGEST_SIDE_PX` pixels a side; b"" for a frame without pixels."""
    if not frame.pixels.size:
        return b""
    image = Image.fromarray(frame.pixels)
    # A box filter is the cheapest that does not alias, and this runs for every block.
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


class SmolVLMVision:
    """Encodes one picture per frame, never split into tiles.

    Runs the tower part by part to avoid two flaws of transformers: `get_image_features` takes
    all-zero pictures, which plain grey frames can be, for padding and drops them from a batch; and
    before 5.22 the tower rounds patch places to half precision, which picks wrong patches.
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
        """Encode in one pass; each frame is resized to its `sizes` in turn, last the tower's."""
        hidden = self.patches(frames, sizes)
        features: Tensor = self._connector(self._tower.post_layernorm(hidden))
        return features

    @torch.no_grad()
    def patches(
        self, frames: Sequence[Frame], sizes: Sequence[Sequence[Size]]
    ) -> Float[Tensor, "frames patches d_vision"]:
        """Return the tower's patch features, before its last norm."""
        pixels = torch.stack(
            [self._transform(frame.pixels, s) for frame, s in zip(frames, sizes, strict=True)]
        )
        embeddings = self._tower.embeddings
        patches = embeddings.patch_embedding(pixels.to(self._dtype)).flatten(2).transpose(1, 2)
        hidden = patches + embeddings.position_embedding(self._positions)
        seen: Tensor = self._tower.encoder(inputs_embeds=hidden).last_hidden_state
        return seen


def _patch_positions(side: int) -> Int[Tensor, " patches"]:
    """Return the learned position of each patch, in reading order. Computed in float32, as the
    towers were trained: for some sides (27) one row and one column take their neighbour's position.
    """
    places = (torch.arange(side, dtype=torch.float32) * (1 / torch.tensor(side))).clamp(
        max=1 - 1e-6
    )
    row = torch.bucketize(places, torch.arange(1 / side, 1.0, 1 / side), right=True)
    return (row[:, None] * side + row).flatten()
