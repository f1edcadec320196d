"""Train: a preset and a seed in, a checkpoint in the layout of the embedded weights out.

First the vision tower alone learns to say what frames show, then the whole model learns to
answer; without the first phase the second hardly starts. A run is a function of preset and seed:
stopped and taken up again it goes the same way as one that was never stopped.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import TokenizersBackend

from eval.training.data import CLIP_S, FrameBatch, StreamBatch, StreamBatches, VisionBatches
from eval.training.objectives import AuxiliaryHeads, stream_losses
from eval.training.plain_model import visual_tokens
from eval.training.presets import Preset, fresh_model
from vstream.weights import embedded_weights

AUXILIARY_WEIGHT = 0.3
RETRIEVAL_WEIGHT = 0.1
VISION_RATE = 0.3
"""The vision tower's share of the learning rate in the second phase."""
PREPROCESSOR = "preprocessor_config.json"
COPIED = (
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
Batch = TypeVar("Batch", FrameBatch, StreamBatch)


@dataclass(frozen=True)
class StepLog:
    """The losses of one step; `answer` and `retrieval` are 0 in the vision phase."""

    step: int
    auxiliary: float
    answer: float = 0.0
    retrieval: float = 0.0


class Trainer:
    """One training run; `out` holds its state and, when it stops, the checkpoint."""

    def __init__(self, preset: Preset, seed: int, out: Path, device: str = "cpu") -> None:
        self._preset, self._seed, self._out, self._device = preset, seed, out, device
        self._tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
        torch.manual_seed(seed)
        self.model = fresh_model(preset.shape, len(self._tokenizer))
        nn.Module.to(self.model, device)  # transformers' own `to` has lost its types
        self._heads = AuxiliaryHeads(preset.shape.width).to(device)
        self._step = 0
        self._optimizer = self._fresh_optimizer()
        if (out / "trainer.pt").exists():
            self._restore()

    @property
    def num_steps(self) -> int:
        return self._preset.vision_steps + self._preset.stream_steps

    def run(self, minutes: float, report: Callable[[StepLog], None]) -> None:
        """Train until done or out of time, then save. At least one step is made."""
        end = time.monotonic() + 60 * minutes
        for log in self._steps():
            report(log)
            if time.monotonic() > end:
                break
        self.save()

    def save(self) -> None:
        """Write the checkpoint and what is needed to go on."""
        self._out.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self._step,
            "model": self.model.state_dict(),
            "heads": self._heads.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, self._out / "trainer.pt")
        half = fresh_model(self._preset.shape, len(self._tokenizer))
        half.load_state_dict(self.model.state_dict())
        nn.Module.to(half, torch.float16)
        half.save_pretrained(self._out)
        for name in COPIED:
            shutil.copyfile(embedded_weights() / name, self._out / name)
        side_px = self._preset.shape.image_px
        settings = json.loads((embedded_weights() / PREPROCESSOR).read_text(encoding="utf-8"))
        settings["size"] = {"height": side_px, "width": side_px}
        (self._out / PREPROCESSOR).write_text(json.dumps(settings, indent=2), encoding="utf-8")

    def _restore(self) -> None:
        state = torch.load(self._out / "trainer.pt", map_location=self._device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self._heads.load_state_dict(state["heads"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = state["step"]

    def _steps(self) -> Iterator[StepLog]:
        vision_steps = self._preset.vision_steps
        vision = VisionBatches(self._preset, self._seed)
        for frames in self._batches(vision, range(self._step, vision_steps)):
            loss = self._heads.loss(self._see(frames, CLIP_S), frames)
            self._advance(loss)
            yield StepLog(self._step, loss.item())
        if self._step == vision_steps:
            self._optimizer = self._fresh_optimizer()
        streams = StreamBatches(self._preset, self._seed, self._tokenizer)
        for batch in self._batches(streams, range(self._step, self.num_steps)):
            with torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
                visual = self._see(batch.frames, self._preset.stream_s)
                answer, retrieval = stream_losses(self.model, self._heads, batch, visual)
            auxiliary = self._heads.loss(visual, batch.frames)
            self._advance(answer + RETRIEVAL_WEIGHT * retrieval + AUXILIARY_WEIGHT * auxiliary)
            yield StepLog(self._step, auxiliary.item(), answer.item(), retrieval.item())

    def _batches(self, batches: Dataset[Batch], steps: range) -> Iterator[Batch]:
        loader = DataLoader(batches, None, sampler=steps, num_workers=self._preset.workers)
        return (batch.to(self._device) for batch in loader)

    def _see(self, frames: FrameBatch, clip_frames: int) -> Tensor:
        """Visual tokens of the frames, after a change of light and sharpness."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._step)
        pixels = augmented(frames.pixels.float() / 255, clip_frames, generator)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._device == "cuda"):
            return visual_tokens(self.model, pixels * 2 - 1)

    def _advance(self, loss: Tensor) -> None:
        """One step of the optimizer."""
        self._set_learning_rate()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self._heads.parameters()], 1.0)
        self._optimizer.step()
        self._step += 1

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        vision = list(self.model.model.vision_model.parameters())
        in_vision = {id(parameter) for parameter in vision}
        rest = [p for p in self.model.parameters() if id(p) not in in_vision]
        rest += self._heads.parameters()
        groups = [
            {"params": [p for p in rest if p.dim() >= 2], "weight_decay": 0.05},
            {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
            {"params": vision, "weight_decay": 0.05, "is_vision": True},
        ]
        return torch.optim.AdamW(groups, lr=self._preset.learning_rate, betas=(0.9, 0.95))

    def _set_learning_rate(self) -> None:
        """Warm up, stay, then fall to a tenth in the last four tenths of each phase."""
        vision_steps = self._preset.vision_steps
        in_streams = self._step >= vision_steps
        step = self._step - vision_steps if in_streams else self._step
        done = step / (self._preset.stream_steps if in_streams else vision_steps)
        factor = min(1.0, (step + 1) / self._preset.warmup_steps) * min(1.0, 0.1 + (1 - done) / 0.4)
        for group in self._optimizer.param_groups:
            share = VISION_RATE if in_streams and group.get("is_vision") else 1.0
            group["lr"] = self._preset.learning_rate * factor * share


def augmented(
    pixels: Float[Tensor, "frames 3 height width"], clip_frames: int, generator: torch.Generator
) -> Float[Tensor, "frames 3 height width"]:
    """Each stream in its own light, colour cast and noise; a third of them blurred."""
    clips = pixels.view(-1, clip_frames, *pixels.shape[1:])
    num_clips = len(clips)

    def drawn(low: float, high: float, channels: int = 1) -> Tensor:
        shape = (num_clips, 1, channels, 1, 1)
        return (torch.rand(shape, generator=generator) * (high - low) + low).to(pixels.device)

    clips = clips * drawn(0.8, 1.2) * drawn(0.92, 1.08, channels=3) + drawn(-0.08, 0.08)
    noise = torch.randn(clips.shape, generator=generator).to(pixels.device)
    changed = (clips + drawn(0, 0.05) * noise).clamp(0, 1)
    num_blurred = int(num_clips * 0.35)
    if num_blurred:
        scale = float(torch.empty(1).uniform_(0.55, 0.9, generator=generator))
        sharp = changed[:num_blurred].flatten(0, 1)
        small = F.interpolate(sharp, scale_factor=scale, mode="bilinear")
        blurred = F.interpolate(small, size=sharp.shape[-2:], mode="bilinear")
        changed = torch.cat([blurred.view_as(changed[:num_blurred]), changed[num_blurred:]])
    return changed.flatten(0, 1)
