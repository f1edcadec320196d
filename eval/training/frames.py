"""Frames: pictures of a script's moments, with what can be read from each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from random import Random
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eval.stream_world import Item, Kind, Moment, Renderer
from eval.stream_world.cast import draw_pace
from eval.stream_world.script import play
from eval.stream_world.seeds import vision_training
from eval.stream_world.vocabulary import COLORS, SCENES, SIGN, emoji_names, shape_names
from eval.training.parallel import Share
from eval.training.presets import GRID, Preset, world_of

NO_DIGIT = 10
CLIP_S = 4
"""Length of the streams that train the vision tower."""
FILL_S = 4
"""In their first seconds those streams are still nearly empty."""
UNKNOWN = -100
MOTIONS = ("still", "left", "right", "up", "down")


class OnDevice:
    """A dataclass of tensors, or of other such dataclasses."""

    def to(self, device: str) -> Self:
        parts = (getattr(self, one.name).to(device) for one in fields(self))  # type: ignore[arg-type]
        return type(self)(*parts)


@dataclass(frozen=True, eq=False)
class FrameBatch(OnDevice):
    """Frames (uint8) first. `came` (names by cell) and `went` (names) say how a frame differs from
    the previous one, `motion` which way the object in a cell has moved since.
    """

    pixels: Tensor
    names: Tensor
    colored_shapes: Tensor
    scene: Tensor
    digits: Tensor
    place: Tensor
    came: Tensor
    went: Tensor
    motion: Tensor


class VisionBatches(Dataset[FrameBatch]):
    """Step number -> frames of many short, crowded streams."""

    def __init__(self, preset: Preset, seed: int, share: Share) -> None:
        self._preset, self._seed, self._share = preset, seed, share
        self._renderer = Renderer(preset.shape.image_px)

    def __getitem__(self, step: int) -> FrameBatch:
        preset = self._preset
        number = step * self._share.count + self._share.rank
        first = vision_training(self._seed).start + number * preset.vision_frames
        moments: list[Moment] = []
        for seed in range(first, first + preset.vision_frames // CLIP_S):
            rng = Random(seed)
            pace = draw_pace(rng, world_of(preset))
            cast = tuple(dict.fromkeys((*pace.cast, (Kind.SIGN, SIGN))))
            pace = replace(pace, enter_chance=0.8, scene_chance=0.2, longest_visit_s=8)
            pace = replace(pace, max_items=4, cast=cast)
            moments += islice(play(seed, preset.styles, pace=pace), FILL_S, FILL_S + CLIP_S)
        return frame_batch(moments, self._renderer)


def known_names() -> list[str]:
    return [*emoji_names(), *shape_names(), SIGN]


def frame_batch(moments: Sequence[Moment], renderer: Renderer) -> FrameBatch:
    """Render moments and record what each frame shows."""
    index_of = {name: index for index, name in enumerate(known_names())}
    colors, shapes = list(COLORS), shape_names()
    num_frames, num_cells = len(moments), GRID * GRID
    names = torch.zeros(num_frames, num_cells, len(index_of))
    colored = torch.zeros(num_frames, len(shapes) * len(colors))
    digits = torch.full((num_frames, 2), NO_DIGIT)
    place = torch.zeros(num_frames, num_cells, 4)
    came, went = torch.zeros_like(names), torch.zeros(num_frames, len(index_of))
    motion = torch.full((num_frames, num_cells), UNKNOWN)
    for index, moment in enumerate(moments):
        before = moments[index - 1] if index else None
        for item in moment.items:
            column, row = min(2, int(item.x * GRID)), min(2, int(item.y * GRID))
            cell, name = row * GRID + column, index_of[item.name]
            names[index, cell, name] = 1
            inside = (item.x * GRID - column) * 2 - 1, (item.y * GRID - row) * 2 - 1
            is_first = float(place[index, cell, 3] == 0)  # with two in one cell, neither counts
            place[index, cell] = torch.tensor((*inside, item.size * 5 - 1.4, is_first))
            if item.kind is Kind.SHAPE:
                shape, color = shapes.index(item.name), colors.index(str(item.color))
                colored[index, shape * len(colors) + color] = 1
            if item.number is not None:
                digits[index] = torch.tensor(divmod(item.number, 10))
            earlier = before.find(item.name) if before else None
            if before and earlier is None:
                came[index, cell, name] = 1
            if earlier:
                motion[index, cell] = _motion(earlier, item) if is_first else UNKNOWN
        for item in before.items if before else ():
            if moment.find(item.name) is None:
                went[index, index_of[item.name]] = 1
    pixels = np.stack([renderer.frame(moment) for moment in moments])
    scene = torch.tensor([SCENES.index(moment.backdrop.scene) for moment in moments])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return FrameBatch(images, names, colored, scene, digits, place, came, went, motion)


def _motion(earlier: Item, now: Item) -> int:
    right, down = now.x - earlier.x, now.y - earlier.y
    if abs(right) < 0.01 and abs(down) < 0.01:
        return 0
    if abs(right) > abs(down):
        return 2 if right > 0 else 1
    return 4 if down > 0 else 3


def joined(batches: Sequence[FrameBatch]) -> FrameBatch:
    """Concatenate the frames of several streams."""
    columns = [[getattr(batch, field.name) for batch in batches] for field in fields(FrameBatch)]
    return FrameBatch(*map(torch.cat, columns))
