"""Exam: a seed and a size in, unseen streams with their questions and true answers out.

Seed N has streams of its own, which no training run and no other seed has. Questions of all kinds
are put in turn, at moments spread uniformly over each stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from random import Random
from typing import Literal

from eval.stream_world import (
    KINDS,
    Question,
    Renderer,
    Script,
    Split,
    draw_questions,
    write_script,
)
from eval.stream_world.present import PRESENT
from eval.stream_world.vocabulary import HELD_OUT_STYLE, SEEN_STYLES, emoji_names

MIN_QUESTIONS = 300
HELD_OUT_SHARE = 0.2
"""Of the questions about ordinary streams, in wordings that no training run has seen."""
MAX_STYLE_STREAM_S = 600
STREAMS_PER_STYLE_STREAM = 4
ASKED_FROM_S = 30
_FIRST_SEED = 1 << 50
_SEEDS_PER_EXAM = 1 << 12
_MAJORITY_SEED, _MAJORITY_STREAMS, _MAJORITY_QUESTIONS = 1 << 49, 8, 120

Style = Literal["seen", "held_out"]


@dataclass(frozen=True)
class ExamOptions:
    """What makes an exam: the same options are the same questions about the same streams."""

    seed: int
    length_s: int
    num_streams: int
    num_questions: int
    names: Literal["core", "full"] = "core"

    @property
    def emoji(self) -> tuple[str, ...]:
        """Who may appear, shapes aside."""
        return emoji_names(full=self.names == "full")


@dataclass(frozen=True)
class ExamQuestion:
    """A question and whose wording it has."""

    question: Question
    wording: Split


@dataclass(frozen=True)
class ExamStream:
    """One stream and its questions in the order of asking."""

    name: str
    script: Script
    style: Style
    questions: tuple[ExamQuestion, ...]

    @property
    def length_s(self) -> int:
        return len(self.script.moments)


def draw_exam(options: ExamOptions) -> list[ExamStream]:
    """The ordinary streams, then those in the held-out style, with present questions only."""
    first_seed = _FIRST_SEED + options.seed * _SEEDS_PER_EXAM
    held_out = round(options.num_questions * HELD_OUT_SHARE)
    plain = options.num_questions - held_out
    streams = []
    for i in range(options.num_streams):
        script = write_script(first_seed + i, options.length_s, SEEN_STYLES, options.emoji)
        questions = [
            *_draw_part(script, i, plain, options, tuple(KINDS), "train"),
            *_draw_part(script, i, held_out, options, tuple(KINDS), "held_out"),
        ]
        streams.append(ExamStream(f"stream{i}", script, "seen", _in_order(questions)))
    return streams + _style_streams(first_seed + _SEEDS_PER_EXAM // 2, held_out, options)


def _style_streams(first_seed: int, num_questions: int, options: ExamOptions) -> list[ExamStream]:
    num_streams = max(1, options.num_streams // STREAMS_PER_STYLE_STREAM)
    options = replace(
        options,
        length_s=min(options.length_s, MAX_STYLE_STREAM_S),
        num_streams=num_streams,
    )
    streams = []
    for i in range(num_streams):
        script = write_script(first_seed + i, options.length_s, (HELD_OUT_STYLE,), options.emoji)
        questions = _draw_part(script, i, num_questions, options, tuple(PRESENT), "train")
        streams.append(ExamStream(f"style{i}", script, "held_out", _in_order(questions)))
    return streams


@cache
def majority_texts(options: ExamOptions) -> dict[str, str]:
    """Each kind's most frequent answer in other streams of the same length."""
    counts: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    for seed in range(_MAJORITY_SEED, _MAJORITY_SEED + _MAJORITY_STREAMS):
        script = write_script(seed, options.length_s, SEEN_STYLES, options.emoji)
        for drawn in _draw(script, _MAJORITY_QUESTIONS, tuple(KINDS), "train"):
            answers = counts[drawn.question.kind]
            answers[drawn.question.answer] = answers.get(drawn.question.answer, 0) + 1
    return {
        kind: max(answers, key=answers.__getitem__, default="") for kind, answers in counts.items()
    }


def exam_digest(streams: Sequence[ExamStream], renderer: Renderer) -> str:
    """16 hex digits over questions, scripts and some frames: a changed world, another exam."""
    digest = sha256()
    for stream in streams:
        digest.update(repr((stream.name, stream.style, stream.questions)).encode())
        digest.update(repr(stream.script.moments).encode())
        for moment in stream.script.moments[::60]:
            digest.update(renderer.frame(moment).tobytes())
    return digest.hexdigest()[:16]


def _draw_part(
    script: Script,
    number: int,
    num_questions: int,
    options: ExamOptions,
    kinds: Sequence[str],
    wording: Split,
) -> list[ExamQuestion]:
    """The share of stream `number` in `num_questions`; its kinds go on where the last one ended."""
    counts = parts(num_questions, options.num_streams)
    order = Random(options.seed).sample(kinds, len(kinds))
    begun = sum(counts[:number]) % len(order)
    return _draw(script, counts[number], order[begun:] + order[:begun], wording)


def _draw(
    script: Script, num_questions: int, kinds: Sequence[str], wording: Split
) -> list[ExamQuestion]:
    rng = Random(f"{script.seed} {wording}")  # not the chance that drew the script
    return [
        ExamQuestion(question, wording)
        for question in draw_questions(
            script, num_questions, rng, kinds, wording, min(ASKED_FROM_S, len(script.moments) // 2)
        )
    ]


def _in_order(questions: Sequence[ExamQuestion]) -> tuple[ExamQuestion, ...]:
    return tuple(sorted(questions, key=lambda drawn: drawn.question.asked_s))


def parts(total: int, num_parts: int) -> list[int]:
    """`total` in parts as equal as can be."""
    return [(total * (i + 1)) // num_parts - (total * i) // num_parts for i in range(num_parts)]
