"""Trainer: makes a checkpoint in the layout of the embedded weights from a preset and a seed.

First the vision tower alone learns to say what frames show, then the whole model learns to answer;
without the first phase the second hardly starts. A run is a function of preset and seed on one kind
of machine: a stopped and resumed run goes the same way as an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import SmolVLMForConditionalGeneration, TokenizersBackend

from eval.training.checkpoint import (
    condensed,
    read_state,
    restore,
    restore_modules,
    save_weights,
    write_state,
)
from eval.training.frames import CLIP_S, FrameBatch, VisionBatches
from eval.training.objectives import FrameHeads, TrainingReader
from eval.training.parallel import Share, agree, average_gradients
from eval.training.presets import Preset, fresh_model, streams_number
from eval.training.streams import StreamBatch, StreamBatches
from vstream.models.weights import embedded_weights

BLURRED_SHARE = 0.35
HEADS_RATE = 4.0
"""How many times faster the heads learn than the model."""
WEIGHTS = {"answer": 1.0, "retrieval": 0.15, "events": 0.1, "meaning": 0.15, "auxiliary": 0.3}
Batch = TypeVar("Batch", FrameBatch, StreamBatch)


@dataclass(frozen=True)
class StepLog:
    """The losses of one step; all but `auxiliary` are 0 in the vision phase."""

    step: int
    auxiliary: float
    answer: float = 0.0
    retrieval: float = 0.0
    events: float = 0.0
    meaning: float = 0.0


def is_faster_in_half(device: str) -> bool:
    """Return whether bfloat16 helps: always on a card; on a CPU it is measured, because one without
    the instructions is fifty times as slow and no flag says so on all of them.
    """
    if torch.device(device).type != "cpu":
        return True
    spent_s = dict.fromkeys((torch.bfloat16, torch.float32), math.inf)
    for dtype in spent_s:
        left, right = torch.ones(512, 256, dtype=dtype), torch.ones(256, 256, dtype=dtype)
        for _ in range(3):
            began = time.perf_counter()
            left @ right
            spent_s[dtype] = min(spent_s[dtype], time.perf_counter() - began)
    return spent_s[torch.bfloat16] <= spent_s[torch.float32]


class Trainer:
    """One training run; `out` holds its state and, when it stops, the checkpoint."""

    def __init__(
        self,
        preset: Preset,
        seed: int,
        out: Path,
        device: str = "cpu",
        start_from: Path | None = None,
        share: Share | None = None,
        heads_from: Path | None = None,
    ) -> None:
        """`start_from`: a checkpoint of the preset's shape. `heads_from`: another run whose heads
        are reused: the gradients of fresh ones are large and useless to a trained model.
        """
        self._preset, self._seed, self._out, self._device = preset, seed, out, device
        self._share = share or Share()
        self._is_half = preset.half_precision and is_faster_in_half(device)
        self._tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
        torch.manual_seed(seed)
        self.model = fresh_model(preset.shape, len(self._tokenizer))
        if start_from is not None:
            load = SmolVLMForConditionalGeneration.from_pretrained
            trained = load(start_from, dtype=torch.float32)
            self.model.load_state_dict(trained.state_dict())
        # Over so few patches, eager attention is faster than the fused kernel.
        self.model.set_attn_implementation({"vision_config": "eager"})
        self._reader = TrainingReader(self.model, preset)
        self._heads = FrameHeads(preset.shape.width)
        self._last_seen: dict[int, Tensor] = {}
        for module in self._modules().values():
            nn.Module.to(module, device)  # transformers' own `to` has lost its types
        if heads_from is not None:
            self._take_heads(heads_from)
        self._step = 0
        self._optimizer = self._fresh_optimizer()
        if (state := read_state(out, device)) is not None:
            self._restore(state)

    @property
    def num_steps(self) -> int:
        return self._preset.vision_steps + self._preset.stream_steps

    def run(self, minutes: float, report: Callable[[StepLog], None]) -> None:
        """Train until done, or out of time at a step that saves (every `save_every`)."""
        end = time.monotonic() + 60 * minutes
        for log in self._steps():
            report(log)
            if self._step % self._preset.save_every == 0 or self._step == self.num_steps:
                self._save()
                if agree(time.monotonic() > end, self._share):
                    break
        if self._share.is_first:
            save_weights(self._out, self.model, self._preset.shape)

    def _save(self) -> None:
        """Write the state needed to resume, and continue from exactly that."""
        state = condensed(self._step, self._modules(), self._optimizer)
        if self._share.is_first:
            write_state(self._out, state)
        self._restore(state)

    def _restore(self, state: dict[str, Tensor]) -> None:
        self._step = int(state["step"])
        self._last_seen.clear()  # the weights are rounded now
        self._optimizer = self._fresh_optimizer()
        restore(state, self._modules(), self._optimizer)

    def _take_heads(self, heads_from: Path) -> None:
        state = read_state(heads_from, self._device)
        if state is None:
            raise ValueError(f"{heads_from} holds no state of a run")
        restore_modules(state, {"heads": self._heads, "reader": self._reader.extra})

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "heads": self._heads, "reader": self._reader.extra}

    def _steps(self) -> Iterator[StepLog]:
        vision_steps = self._preset.vision_steps
        vision = VisionBatches(self._preset, self._seed, self._share)
        for frames in self._batches(vision, range(self._step, vision_steps)):
            with torch.set_grad_enabled(self._step >= self._preset.heads_steps):
                visual = self._see(frames, CLIP_S, self._step)
            loss = self._heads.loss(visual, frames)
            self._advance(loss)
            yield StepLog(self._step, loss.item())
        streams = StreamBatches(self._preset, self._seed, self._tokenizer, self._share)
        for batch in self._batches(streams, range(self._step, self.num_steps)):
            yield self._answer_step(batch)

    def _answer_step(self, batch: StreamBatch) -> StepLog:
        preset, rng = self._preset, Random(self._seed * 1_000_003 + self._step)
        visual = self._seen(batch.frames)
        with self._autocast():
            losses = self._reader.losses(
                batch, visual, rng.choice(preset.recent_frames), rng.choice(preset.retrieve_frames)
            )
        losses["auxiliary"] = self._heads.loss(visual, batch.frames)
        weighted = (weight * losses[name] for name, weight in WEIGHTS.items())
        self._advance(reduce(torch.add, weighted))
        return StepLog(self._step, **{name: loss.item() for name, loss in losses.items()})

    def _batches(self, batches: Dataset[Batch], steps: range) -> Iterator[Batch]:
        loader = DataLoader(batches, None, sampler=steps, num_workers=self._preset.workers)
        return (batch.to(self._device) for batch in loader)

    def _seen(self, frames: FrameBatch) -> Tensor:
        """Return visual tokens of this step's streams; a frozen tower encodes them only once."""
        preset = self._preset
        number = streams_number(preset, self._step)
        if preset.vision_rate > 0:
            return self._see(frames, preset.stream_s, number)
        if number not in self._last_seen:
            if len(self._last_seen) == preset.apart:
                del self._last_seen[next(iter(self._last_seen))]
            with torch.no_grad():
                self._last_seen[number] = self._see(frames, preset.stream_s, number)
        return self._last_seen[number]

    def _see(self, frames: FrameBatch, clip_frames: int, number: int) -> Tensor:
        """Return visual tokens of the frames, after varying light and sharpness."""
        number = number * self._share.count + self._share.rank
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        pixels = augmented(frames.pixels.float() / 255, clip_frames, generator)
        with self._autocast():
            return visual_tokens(self.model, pixels * 2 - 1)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device, torch.bfloat16, enabled=self._is_half)

    def _advance(self, loss: Tensor) -> None:
        self._set_learning_rate()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(self._trained(), self._share)
        nn.utils.clip_grad_norm_(self._trained(), 1.0)
        self._optimizer.step()
        self._step += 1

    def _trained(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self._extra()]

    def _extra(self) -> list[nn.Parameter]:
        return [*self._heads.parameters(), *self._reader.extra.parameters()]

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        vision = list(self.model.model.vision_model.parameters())
        in_vision = {id(parameter) for parameter in vision}
        rest = [p for p in self.model.parameters() if id(p) not in in_vision]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in rest if p.dim() >= 2], "weight_decay": 0.05},
            {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
            {"params": vision, "weight_decay": 0.05, "is_vision": True},
            {"params": self._extra(), "weight_decay": 0.0, "is_extra": True},
        ]
        return torch.optim.AdamW(groups, lr=self._preset.learning_rate, betas=(0.9, 0.95))

    def _set_learning_rate(self) -> None:
        """Warm up, stay, then fall to a tenth in the last four tenths of each phase."""
        preset = self._preset
        in_streams = self._step >= preset.vision_steps
        step = self._step - preset.vision_steps if in_streams else self._step
        done = step / (preset.stream_steps if in_streams else preset.vision_steps)
        factor = min(1.0, (step + 1) / preset.warmup_steps) * min(1.0, 0.1 + (1 - done) / 0.4)
        for group in self._optimizer.param_groups:
            share = HEADS_RATE if group.get("is_extra") else 1.0
            if in_streams and group.get("is_vision"):
                share = preset.vision_rate
            group["lr"] = preset.learning_rate * factor * share


def augmented(
    pixels: Float[Tensor, "frames 3 height width"], clip_frames: int, generator: torch.Generator
) -> Float[Tensor, "frames 3 height width"]:
    """Change each clip of `clip_frames` frames in one way, and blur some."""
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
    """Encode normalised frames. Calls the tower directly: `get_image_features` drops frames whose
    pixels are all zero, which plain grey ones are.
    """
    core = model.model
    visual: Tensor = core.connector(core.vision_model(pixel_values=pixels).last_hidden_state)
    return visual
