"""GridTransform: packs the frames of temporal grids into patches for Qwen-VL's tower.

Source of the size rule: Qwen2-VL (https://arxiv.org/abs/2409.12191) and its `smart_resize`. Differs
from transformers' video processors, which spread one pixel budget over a whole video: a stream has
no length, so every grid is sized by its own first frame, and a grid never depends on the length of
the stream.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encoders.errors import EncoderError
from encoders.frame import Frame
from encoders.images import ImageTransform, Size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MAX_GRID_TOKENS = 256
"""Most visual tokens of one grid (about 448 x 448 pixels for Qwen2.5-VL). The published limits, for
images and short clips, allow thousands: then hours of a stream would fit no memory, and dozens of
retrieved grids would not fit the model's context."""

_MAX_ASPECT = 200


@dataclass(frozen=True)
class PixelLimits:
    """Least and most pixels of one frame."""

    least: int
    most: int


@dataclass(frozen=True, eq=False)
class PackedGrids:
    """The patches of all grids, concatenated, and each grid's (time, rows, columns). `tokens` are
    the rows and columns of each grid's visual tokens, each made of several patches.
    """

    patches: Float[Tensor, "patches values"]
    shapes: Int[Tensor, "grids 3"]
    tokens: list[tuple[int, int]]


class GridTransform:
    """Sizes, normalises and cuts up the frames of grids as the vision tower was trained."""

    def __init__(
        self, transform: ImageTransform, vision_config: "PreTrainedConfig", limits: PixelLimits
    ) -> None:
        self._transform = transform
        self._patch: int = vision_config.patch_size
        self._merge: int = vision_config.spatial_merge_size
        self.num_frames: int = vision_config.temporal_patch_size
        factor = self._patch * self._merge
        most = min(limits.most, MAX_GRID_TOKENS * factor**2)
        self._limits = PixelLimits(min(limits.least, most), most)

    def __call__(self, groups: Sequence[Sequence[Frame]]) -> PackedGrids:
        """Pack the grids; a group short of frames is filled up by repeating its last one."""
        patches, shapes, tokens = [], [], []
        for group in groups:
            size = smart_resize(
                (group[0].pixels.shape[0], group[0].pixels.shape[1]),
                self._patch * self._merge,
                self._limits,
            )
            frames = [*group, *[group[-1]] * (self.num_frames - len(group))]
            pixels = torch.stack([self._transform(frame.pixels, [size]) for frame in frames])
            patches.append(self._cut(pixels))
            rows, columns = size[0] // self._patch, size[1] // self._patch
            shapes.append([1, rows, columns])
            tokens.append((rows // self._merge, columns // self._merge))
        packed = torch.cat(patches)
        return PackedGrids(packed, torch.tensor(shapes, device=packed.device), tokens)

    def _cut(self, pixels: Float[Tensor, "frames 3 height width"]) -> Tensor:
        """Return patches in the tower's order: patches that merge into one token are adjacent."""
        frames, channels, height, width = pixels.shape
        patch, merge = self._patch, self._merge
        rows, columns = height // (patch * merge), width // (patch * merge)
        parts = pixels.view(frames, channels, rows, merge, patch, columns, merge, patch)
        # -> rows, columns, merge, merge | channels, frames, patch, patch
        return parts.permute(2, 5, 3, 6, 1, 0, 4, 7).reshape(rows * columns * merge**2, -1)


def smart_resize(size: Size, factor: int, limits: PixelLimits) -> Size:
    """Return the size near `size` with sides divisible by `factor` and pixels within `limits`.
    Raises EncoderError if one side is more than 200 times the other, as the original does.
    """
    height, width = size
    if max(size) / min(size) > _MAX_ASPECT:
        raise EncoderError(f"a frame of {width} x {height} pixels is too narrow to be encoded")
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor**2 > limits.most:
        shrink = math.sqrt(height * width / limits.most)
        rows = max(1, math.floor(height / shrink / factor))
        columns = max(1, math.floor(width / shrink / factor))
    elif rows * columns * factor**2 < limits.least:
        grow = math.sqrt(limits.least / (height * width))
        rows, columns = math.ceil(height * grow / factor), math.ceil(width * grow / factor)
    return rows * factor, columns * factor


def grid_positions(rows: int, columns: int) -> Int[Tensor, "3 tokens"]:
    """Return time, height and width of a grid's tokens, from 0, in reading order."""
    height = torch.arange(rows).repeat_interleave(columns)
    width = torch.arange(columns).repeat(rows)
    return torch.stack([torch.zeros_like(height), height, width])


def woven_grid_positions(num_before: int, rows: int, columns: int) -> Int[Tensor, "3 tokens"]:
    """Return positions of text, a grid, then one text token, one past the grid's longer side."""
    before = torch.arange(num_before).expand(3, -1)
    after = torch.full((3, 1), num_before + max(rows, columns))
    return torch.cat([before, num_before + grid_positions(rows, columns), after], dim=1)
