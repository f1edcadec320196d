"""`python -m eval.experiments.memory_tokens` trains memory tokens and measures them as a memory.

They learn by distillation: over the blocks that a question retrieves as they are, the model says
what it says (the teacher); over their gists, with the recent window as it is, it shall say the
same. The loss is the KL of all answer tokens; all weights of the model stand still. Streams and
questions are those of training, which no exam has.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Annotated
from unittest.mock import patch

import torch
import typer
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import SmolVLMForConditionalGeneration, TokenizersBackend

from eval.experiments.answers import Blocks
from eval.experiments.gist import Gist, Gists
from eval.memory_benchmark.ablations import ABLATIONS, MeanMoments
from eval.memory_benchmark.run import run_memory
from eval.result_table import ResultTable, show
from eval.stream_benchmark.exam import ExamOptions
from eval.training.frames import UNKNOWN
from eval.training.objectives import TrainingReader
from eval.training.parallel import Share
from eval.training.presets import FRAME_TOKENS, PRESETS, Preset
from eval.training.steps import PaddedQuestions, QuestionsStep, attended, rotated
from eval.training.streams import StreamBatch, StreamBatches
from eval.training.train import visual_tokens
from memory import ModelShape
from memory.block_info import BlockInfo
from memory.kv_block import KVBlock
from memory.policies.moments import Moments, MomentsSettings
from vstream import load_config
from vstream.engine.positions import Rope
from vstream.engine.prefill import LayerKV
from vstream.models.weights import embedded_weights

RECENT, RETRIEVED = 8, 32
"""As the embedded model answers."""
PRESET = replace(PRESETS["tune"], questions=256)
"""What streams and questions of training are like."""
_TRAINING_SEED = 190
"""No training run of the model's own had it."""
_TOGETHER = 32
_RATE, _WARMUP = 3e-3, 20
Compressor = Callable[[Blocks, Blocks], tuple[Blocks, Blocks]]
"""Keys before RoPE and values of blocks in, those of fewer tokens of each out."""
Slots = tuple[Int[Tensor, "questions slots"], Bool[Tensor, "questions slots"]]


class TeacherStep(QuestionsStep):
    """Remembers which frames each layer's questions read: frames, and which of them are there."""

    def __init__(self, rope: Rope, memory: LayerKV, asked: PaddedQuestions) -> None:
        super().__init__(rope, memory, asked, RECENT, RETRIEVED)
        self.slots: list[Slots] = []

    def _retrieved(self, cosines: Tensor) -> Slots:
        self.slots.append(super()._retrieved(cosines))
        return self.slots[-1]


class GistStep:
    """As the teacher's, but all frames save the recent ones are read as their gists."""

    def __init__(
        self, rope: Rope, memory: LayerKV, gists: LayerKV, slots: Sequence[Slots], length: int
    ) -> None:
        """`gists`, [kv_heads, frames * tokens, head_dim] of each layer, of all frames."""
        self._rope, self._memory, self._gists = rope, memory, gists
        self._slots, self._length = slots, length

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        slots, is_there = self._slots[layer]
        shape = len(slots), self._length
        queries, keys, values = (
            x.unflatten(1, shape).transpose(0, 1) for x in (queries, keys, values)
        )
        memory, gists = self._memory[layer], self._gists[layer]
        num_frames = (memory[0].shape[1] - 1) // FRAME_TOKENS
        kept = gists[0].shape[1] // num_frames
        older, recent = slots[:, :-RECENT], slots[:, -RECENT:]
        starts = 1 + FRAME_TOKENS * (is_there.long().cumsum(1) - 1).clamp(min=0)
        tokens = [torch.zeros_like(slots[:, :1])]
        tokens.append(_all(1 + num_frames * FRAME_TOKENS + older * kept, kept))
        tokens.append(_all(1 + recent * FRAME_TOKENS, FRAME_TOKENS))
        at = torch.cat(tokens, dim=1)
        text = 1 + FRAME_TOKENS * is_there.sum(1)[:, None] + torch.arange(self._length)
        positions = [torch.zeros_like(slots[:, :1])]
        positions.append(_all(starts[:, :-RECENT] + FRAME_TOKENS - kept, kept))
        positions.append(_all(starts[:, -RECENT:], FRAME_TOKENS))
        pools = (torch.cat(pair, dim=1) for pair in zip(memory, gists, strict=True))
        seen_keys, seen_values = (pool[:, at].transpose(0, 1) for pool in pools)
        seen_keys = rotated(
            self._rope, torch.cat([seen_keys, keys], 2), torch.cat([*positions, text], 1)
        )
        seen_values = torch.cat([seen_values, values], dim=2)
        mask = [torch.ones(len(slots), 1, dtype=torch.bool)]
        mask.append(is_there[:, :-RECENT].repeat_interleave(kept, dim=1))
        mask.append(is_there[:, -RECENT:].repeat_interleave(FRAME_TOKENS, dim=1))
        before = torch.cat(mask, dim=1)[:, None].expand(-1, self._length, -1)
        causal = torch.ones(shape[1], shape[1], dtype=torch.bool).tril().expand(len(slots), -1, -1)
        turned = rotated(self._rope, queries, text)
        return attended(turned, seen_keys, seen_values, torch.cat([before, causal], 2), scale)


def _all(first: Int[Tensor, "questions slots"], count: int) -> Int[Tensor, "questions tokens"]:
    """`count` numbers from each of `first` on."""
    return (first[..., None] + torch.arange(count)).flatten(1)


@dataclass(frozen=True, eq=False)
class Lesson:
    """Questions about one stream, what was read for them, and what the teacher said."""

    memory: LayerKV
    batch: StreamBatch
    slots: Sequence[Slots]
    said: Float[Tensor, "tokens vocabulary"]


class School:
    """The frozen model, as the engine reads with it, and lessons of training streams."""

    def __init__(self, preset: Preset, seed: int) -> None:
        load = SmolVLMForConditionalGeneration.from_pretrained
        self.model = load(embedded_weights(), dtype=torch.float32).requires_grad_(False)
        self.reader = TrainingReader(self.model, preset)
        tokenizer = TokenizersBackend.from_pretrained(embedded_weights())
        self._streams = StreamBatches(preset, seed, tokenizer, Share())

    def gist(self, num_tokens: int, memory: LayerKV) -> Gist:
        prefix = [(keys[:, :1], values[:, :1]) for keys, values in memory]
        return Gist(self.model.model.text_model.layers, self.reader.rope, prefix, num_tokens)

    @torch.no_grad()
    def lessons(self, stream: int) -> Iterator[Lesson]:
        """Of one stream, questions of about one length together."""
        batch = self._streams[stream]
        visual = visual_tokens(self.model, batch.frames.pixels.float() / 255 * 2 - 1)
        memory, _ = self.reader.read(batch.times, visual)
        by_length = (batch.text > 0).sum(1).argsort()
        for rows in by_length.split(_TOGETHER):
            part = batch.of(rows)
            asked = PaddedQuestions(part.own, part.frame, part.first, part.wanted)
            step = TeacherStep(self.reader.rope, memory, asked)
            yield Lesson(memory, part, step.slots, self._said(part, step))

    def loss(self, gist: Compressor, lesson: Lesson) -> Tensor:
        """KL of what is said over gists to what the teacher said, in nats a token."""
        keys, values = (
            torch.stack(part)[:, :, 1:].unflatten(2, (-1, FRAME_TOKENS))
            for part in zip(*lesson.memory, strict=True)
        )
        made = (part.flatten(2, 3) for part in gist(keys, values))
        gists = list(zip(*made, strict=True))
        length = lesson.batch.text.shape[1]
        step = GistStep(self.reader.rope, lesson.memory, gists, lesson.slots, length)
        got = self._said(lesson.batch, step)
        return (lesson.said.exp() * (lesson.said - got)).sum(dim=1).mean()

    @torch.no_grad()
    def test(self, gist: Compressor, lessons: Sequence[Lesson]) -> float:
        return fmean(float(self.loss(gist, one)) for one in lessons)

    def _said(self, batch: StreamBatch, step: QuestionsStep | GistStep) -> Tensor:
        """The logs of what each answer token may be."""
        wanted = (batch.label != UNKNOWN).flatten()
        self.reader._halfway.clear()  # what training looks at, and nobody here
        return self.reader.ask(batch.text.flatten(), step, wanted).log_softmax(dim=1)


def cut_by(kind: type[Moments], num_tokens: int, rope: Rope) -> Compressor:
    """What a policy keeps of blocks, put where memory tokens stand."""
    policy = kind(ModelShape(rotate=rope.rotate), MomentsSettings(tokens=num_tokens))

    def compress(keys: Blocks, values: Blocks) -> tuple[Blocks, Blocks]:
        places = torch.arange(keys.shape[3])[None]
        info = BlockInfo(0, 0, 0, places, torch.tensor([keys.shape[3]]))
        made = []
        for at in range(keys.shape[2]):
            cut = policy.rewrite(KVBlock(info, keys[:, :, at], values[:, :, at]), at, {})
            moved = cut.info.positions - places[:, -cut.info.num_tokens :]
            turned = rope.rotate(cut.keys.flatten(0, 1), moved).view_as(cut.keys)
            made.append((turned, cut.values))
        first, second = (torch.stack(part, dim=2) for part in zip(*made, strict=True))
        return first, second

    return compress


def train(gist: Gist, school: School, lessons: Sequence[Lesson], steps: int) -> None:
    """A lesson a step, drawn at random."""
    optimizer, rng = torch.optim.Adam(gist.parameters(), lr=_RATE), Random(0)
    for step in range(steps):
        falling = 0.02 + 0.98 * math.cos(math.pi / 2 * step / steps)
        optimizer.param_groups[0]["lr"] = _RATE * min(1.0, (step + 1) / _WARMUP) * falling
        optimizer.zero_grad(set_to_none=True)
        school.loss(gist, rng.choice(lessons)).backward()
        nn.utils.clip_grad_norm_(gist.parameters(), 1.0)
        optimizer.step()


def measure(
    seed: Annotated[int, typer.Option(min=0, help="Of the exam.")],
    tokens: Annotated[int, typer.Option(min=1, help="Memory tokens of a block.")] = 1,
    taught: Annotated[int, typer.Option(min=2, max=16, help="Streams; the last is a test.")] = 12,
    steps: Annotated[int, typer.Option(min=1, help="Of training.")] = 160,
    minutes: Annotated[float, typer.Option(min=1, help="Length of the exam's streams.")] = 10,
    streams: Annotated[int, typer.Option(min=1)] = 2,
    questions: Annotated[int, typer.Option(min=2, help="Of all streams together.")] = 120,
) -> None:
    """What answers lose by memory tokens, beside what they lose by other tokens as many."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    school = School(PRESET, _TRAINING_SEED)
    *lessons, last = [list(school.lessons(stream)) for stream in range(taught)]
    gist = school.gist(tokens, last[0].memory)
    cuts = {kind.name: cut_by(kind, tokens, school.reader.rope) for kind in (Moments, MeanMoments)}
    tested = {name: school.test(cut, last) for name, cut in cuts.items()}
    tested["gists, untrained"] = school.test(gist, last)
    began = time.process_time()
    train(gist, school, [one for stream in lessons for one in stream], steps)
    spent_s = time.process_time() - began
    tested[f"gists, {steps} steps, {spent_s:.0f} s of CPU"] = school.test(gist, last)
    rows = tuple((name, f"{value:.3f}") for name, value in tested.items())
    columns = ("", "KL, nats an answer's token")
    show([ResultTable("The loss of training, on a stream kept back from it", columns, rows)])
    kinds = ("moments", "mean_moments", Gists.name)
    contenders = [f"policy={kind},tokens={tokens}" for kind in kinds]
    config = load_config(threads=1, source={"sample_fps": 1.0, "dedup_threshold": 0.0})
    options = ExamOptions(seed, round(60 * minutes), streams, questions)
    with (
        TemporaryDirectory() as folder,
        patch.dict(Gists.trained, {tokens: gist}),
        patch.dict(ABLATIONS, {Gists.name: Gists}),
    ):
        _, report = run_memory(options, contenders, config, Path(folder))
    sys.stdout.write(report)


if __name__ == "__main__":
    typer.run(measure)
