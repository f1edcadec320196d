"""resize: 8-bit pictures in, 8-bit pictures of another size out, as Pillow resizes them.

Antialiased: shrinking widens the filter. Differs from Pillow by at most one level of 255 in few
pixels, from rounding between the two passes. On a GPU the same filters run in float32.
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
    if resample == LANCZOS:
        return _resize_lanczos(pictures, size)
    on_cpu = pictures.device.type == "cpu"  # the integer path is exact enough, and 10x faster
    resized = F.interpolate(
        pictures if on_cpu else pictures.float(), size, mode=_TORCH_MODES[resample], antialias=True
    )
    return _to_bytes(resized)


def _resize_lanczos(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Two passes with rounding between, width first, as in Pillow; torch has no such mode."""
    height, width = pictures.shape[-2:]
    columns = _lanczos_matrix(width, size[1]).to(pictures.device)
    rows = _lanczos_matrix(height, size[0]).to(pictures.device)
    narrowed = _to_bytes(pictures.float() @ columns.T)
    return _to_bytes(rows @ narrowed.float())


@lru_cache(maxsize=16)
def _lanczos_matrix(old: int, new: int) -> Float[Tensor, "new old"]:
    """Weight of each old sample in each new one. Rows sum to one."""
    scale = max(old / new, 1.0)
    centers = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)
    offsets = (torch.arange(old, dtype=torch.float64) + 0.5 - centers[:, None]) / scale
    weights = torch.sinc(offsets) * torch.sinc(offsets / _LANCZOS_LOBES)
    weights[offsets.abs() >= _LANCZOS_LOBES] = 0
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _to_bytes(values: Tensor) -> Tensor:
    if values.dtype == torch.uint8:
        return values
    return (values + 0.5).floor().clamp(0, 255).to(torch.uint8)
