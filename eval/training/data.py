"""Data: a preset and the number of a step in, the batch of that step out.

Each batch is drawn from its own seed, so that a run that goes on after a break sees what it
would have seen. A stream comes with many questions packed behind it; each of them is shown its
own part of the frames, as a memory would: the last ones, some at random, those that matter.
"""

import math
from dataclasses import dataclass, fields, replace
from itertools import islice
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import TokenizersBackend

from eval.stream_world import (
    KINDS,
    Kind,
    Moment,
    Renderer,
    draw_questions,
    write_script,
)
from eval.stream_world.script import draw_pace, play
from eval.stream_world.vocabulary import COLORS, SCENES, SIGN, clock, emoji_names, shape_names
from eval.training.packing import draw_visible, pack_questions, relevant_runs
from eval.training.presets import FRAME_TOKENS, GRID, Preset, world_of

FIRST_SEED = 1 << 41
"""Training streams have seeds from here on; evaluation stays far below."""
NO_DIGIT = 10
CLIP_S = 4
"""Length of the streams that the vision tower is trained on."""


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Frames (uint8) and what the auxiliary heads should read from them; first axis: frames."""

    pixels: Tensor
    names: Tensor
    colored_shapes: Tensor
    scene: Tensor
    digits: Tensor
    place: Tensor

    def to(self, device: str) -> "FrameBatch":
        return FrameBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class StreamBatch:
    """Streams with packed questions; first axis: streams.

    `owner` is the question a text token belongs to (-1: padding), `label` the token to predict
    there (-100: none). `visible` and `evidence` are questions x frames.
    """

    frames: FrameBatch
    times: Tensor
    frame_positions: Tensor
    window: Tensor
    text: Tensor
    owner: Tensor
    label: Tensor
    is_question: Tensor
    text_positions: Tensor
    asked: Tensor
    visible: Tensor
    evidence: Tensor

    def to(self, device: str) -> "StreamBatch":
        return StreamBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


class VisionBatches(Dataset[FrameBatch]):
    """Step number -> frames of many short, crowded streams."""

    def __init__(self, preset: Preset, seed: int) -> None:
        self._preset, self._seed = preset, seed
        self._renderer = Renderer(preset.shape.image_px)

    def __getitem__(self, step: int) -> FrameBatch:
        preset = self._preset
        first = FIRST_SEED * (2 + self._seed) + step * preset.vision_frames
        moments: list[Moment] = []
        for seed in range(first, first + preset.vision_frames // CLIP_S):
            rng = Random(seed)
            pace = draw_pace(rng, world_of(preset))
            pace = replace(pace, enter_chance=0.7, scene_chance=0.2, longest_visit_s=6)
            moments += islice(play(seed, preset.styles, pace=pace), CLIP_S)
        return frame_batch(moments, self._renderer)


class StreamBatches(Dataset[StreamBatch]):
    """Step number -> streams with their questions."""

    def __init__(self, preset: Preset, seed: int, tokenizer: TokenizersBackend) -> None:
        self._preset, self._seed, self._tokenizer = preset, seed, tokenizer
        self._renderer = Renderer(preset.shape.image_px)

    def __getitem__(self, step: int) -> StreamBatch:
        first = FIRST_SEED * (1_000 + self._seed) + step * self._preset.streams
        seeds = range(first, first + self._preset.streams)
        return _stack([self._stream(seed) for seed in seeds])

    def _stream(self, seed: int) -> StreamBatch:
        preset, rng = self._preset, Random(seed)
        script = write_script(seed, preset.stream_s, preset.styles, world_of(preset))
        script = script.retimed(_draw_times(rng, preset.stream_s))
        kinds = rng.sample(list(KINDS), len(KINDS))
        questions = draw_questions(script, preset.questions, rng, kinds)
        times_s = [moment.time_s for moment in script.moments]
        positions = 1 + FRAME_TOKENS * torch.arange(preset.stream_s)
        if rng.random() < 0.5:  # gaps, as between retrieved blocks
            total = int(math.exp(rng.uniform(math.log(50), math.log(45_000))))
            gaps = sorted(rng.randint(0, total) for _ in times_s)
            positions = positions + torch.tensor(gaps) // FRAME_TOKENS * FRAME_TOKENS
        packed = pack_questions(
            self._tokenizer, rng.sample(questions, len(questions)), preset.text_tokens
        )
        index_of = {time_s: index for index, time_s in enumerate(times_s)}
        asked = torch.zeros(preset.questions, dtype=torch.long)
        visible = torch.zeros(preset.questions, preset.stream_s, dtype=torch.bool)
        evidence = torch.zeros_like(visible)
        for row, question in enumerate(packed.questions):
            asked[row] = index_of[question.asked_s]
            runs = relevant_runs(script, question, index_of)
            visible[row] = draw_visible(rng, question, runs, int(asked[row]), preset.stream_s)
            if question.is_about_past and question.kind != "at_time":
                for first, last in runs:
                    evidence[row, first : last + 1] = True
        owned_asked = asked[packed.owner.clamp(min=0)]
        return StreamBatch(
            frames=frame_batch(list(script.moments), self._renderer),
            times=_ids(self._tokenizer, [clock(time_s) for time_s in times_s]),
            frame_positions=positions,
            window=torch.tensor(rng.choice((1, 2, 4, 8, 16, preset.stream_s, preset.stream_s))),
            text=packed.text,
            owner=packed.owner,
            label=packed.label,
            is_question=packed.is_question,
            text_positions=positions[owned_asked] + FRAME_TOKENS + packed.offset,
            asked=asked,
            visible=visible,
            evidence=evidence,
        )


def frame_batch(moments: list[Moment], renderer: Renderer) -> FrameBatch:
    """Render moments and write down what each frame shows."""
    known = [*emoji_names(), *shape_names(), SIGN]
    colors, shapes = list(COLORS), shape_names()
    names = torch.zeros(len(moments), GRID * GRID, len(known))
    colored = torch.zeros(len(moments), len(shapes) * len(colors))
    digits = torch.full((len(moments), 2), NO_DIGIT)
    place = torch.zeros(len(moments), GRID * GRID, 4)
    for index, moment in enumerate(moments):
        for item in moment.items:
            column, row = min(2, int(item.x * GRID)), min(2, int(item.y * GRID))
            cell = row * GRID + column
            names[index, cell, known.index(item.name)] = 1
            inside = (item.x * GRID - column) * 2 - 1, (item.y * GRID - row) * 2 - 1
            is_first = float(place[index, cell, 3] == 0)  # two in one cell: neither is asked for
            place[index, cell] = torch.tensor((*inside, item.size * 5 - 1.4, is_first))
            if item.kind is Kind.SHAPE:
                pair = shapes.index(item.name) * len(colors) + colors.index(str(item.color))
                colored[index, pair] = 1
            if item.number is not None:
                digits[index] = torch.tensor(divmod(item.number, 10))
    pixels = np.stack([renderer.frame(moment) for moment in moments])
    scene = torch.tensor([SCENES.index(moment.backdrop.scene) for moment in moments])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return FrameBatch(images, names, colored, scene, digits, place)


def _draw_times(rng: Random, num_frames: int) -> list[int]:
    """Increasing times within seven hours: a steady pace, with or without gaps."""
    pace_s = rng.choice((1, 1, 1, 2, 2, 3, 5))
    gap_chance = rng.choice((0, 0.02, 0.08, 0.15))
    time_s = rng.randint(0, 20) if rng.random() < 0.5 else rng.randint(0, 7000)
    times_s = []
    for _ in range(num_frames):
        times_s.append(time_s)
        time_s += pace_s
        if rng.random() < gap_chance:
            shortest, longest = rng.choice(((2, 30), (30, 400), (100, 1500)))
            time_s += rng.randint(shortest, longest)
    return times_s if time_s < 7 * 3600 else [t // 4 + i for i, t in enumerate(times_s)]


def _ids(tokenizer: TokenizersBackend, texts: list[str]) -> Tensor:
    return torch.tensor(tokenizer(texts, add_special_tokens=False).input_ids)


def _stack(streams: list[StreamBatch]) -> StreamBatch:
    """Streams side by side; their frames one behind the other."""

    def column(name: str) -> list[Tensor]:
        return [getattr(stream, name) for stream in streams]

    frames = [[getattr(stream.frames, f.name) for stream in streams] for f in fields(FrameBatch)]
    rest = [field.name for field in fields(StreamBatch) if field.name != "frames"]
    return StreamBatch(FrameBatch(*map(torch.cat, frames)), *(torch.stack(column(n)) for n in rest))
