"""resize: 8-bit pictures in, 8-bit pictures of another size out, as Pillow resizes them.

Antialiased: shrinking widens the filter. Two passes with rounding to 8 bits between them, width
first, as in Pillow before 13 (newer ones take the cheaper pass first, which shows only next to
overshooting edges). At most one level of 255 away from it, in few pixels.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from encoders.errors import UnsupportedModelError

LANCZOS, BILINEAR, BICUBIC = 1, 2, 3
"""Pillow's numbers, as the checkpoints' files have them."""

_TORCH_MODES = {BILINEAR: "bilinear", BICUBIC: "bicubic"}
_LANCZOS_LOBES = 3


def check_resample(resample: int, where: str) -> None:
    """Raises UnsupportedModelError for a filter that `resize` does not have."""
    if resample != LANCZOS and resample not in _TORCH_MODES:
        raise UnsupportedModelError(
            f"{where}: resample {resample} is not supported, "
            f"only {LANCZOS} (Lanczos), {BILINEAR} (bilinear) and {BICUBIC} (bicubic)"
        )


def resize(
    pictures: UInt8[Tensor, "frames 3 height width"], size: tuple[int, int], resample: int
) -> UInt8[Tensor, "frames 3 new_height new_width"]:
    """Resize to `size` (height, width) with one of Pillow's filters, on the pictures' device."""
    if tuple(pictures.shape[-2:]) == size:
        return pictures
    if pictures.device.type == "cpu" and resample in _TORCH_MODES:
        # torch's integer path is as exact, and ten times faster.
        return F.interpolate(pictures, size, mode=_TORCH_MODES[resample], antialias=True)
    return resize_in_float(pictures, size, resample)


def resize_in_float(
    pictures: UInt8[Tensor, "frames 3 height width"], size: tuple[int, int], resample: int
) -> UInt8[Tensor, "frames 3 new_height new_width"]:
    """The same in float32: what GPUs can do, and Lanczos everywhere."""
    narrowed = _to_bytes(_resize_width(pictures.float(), size[1], resample))
    return _to_bytes(_resize_width(narrowed.float().mT, size[0], resample).mT)


def _resize_width(pictures: Tensor, width: int, resample: int) -> Tensor:
    if resample == LANCZOS:  # torch has no such mode
        return pictures @ _lanczos_matrix(pictures.shape[-1], width, pictures.device).mT
    size = (pictures.shape[-2], width)
    return F.interpolate(pictures, size, mode=_TORCH_MODES[resample], antialias=True)


@lru_cache(maxsize=16)
def _lanczos_matrix(old: int, new: int, device: torch.device) -> Float[Tensor, "new old"]:
    """Weight of each old sample in each new one, on the device. Rows sum to one."""
    scale = max(old / new, 1.0)
    centers = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)
    offsets = (torch.arange(old, dtype=torch.float64) + 0.5 - centers[:, None]) / scale
    weights = torch.sinc(offsets) * torch.sinc(offsets / _LANCZOS_LOBES)
    weights[offsets.abs() >= _LANCZOS_LOBES] = 0
    return (weights / weights.sum(dim=1, keepdim=True)).float().to(device)


def _to_bytes(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255).to(torch.uint8)
