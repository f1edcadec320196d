"""Exam: draws, from a seed and a size, unseen streams with questions and true answers.

Each seed has its own streams, which no training run and no other seed uses. Questions of all kinds
are put in turn, at moments spread uniformly over each stream. An exam about time asks a number of
questions of each kind of `eval.stream_world.timed`, spread over the ages of their evidence.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import pairwise
from random import Random
from typing import Literal

from eval.run.scored import AGES_S
from eval.stream_world import (
    KINDS,
    Question,
    Renderer,
    Script,
    Split,
    draw_questions,
    score_question,
    write_script,
)
from eval.stream_world.present import PRESENT
from eval.stream_world.seeds import EXAMS, MAJORITY
from eval.stream_world.timed import NEVER_SO, TIMED, draw_timed
from eval.stream_world.vocabulary import HELD_OUT_STYLE, SEEN_STYLES, emoji_names

MIN_QUESTIONS = 300
HELD_OUT_SHARE = 0.2
"""Share of the questions about ordinary streams in wordings that no training run has seen."""
MAX_STYLE_STREAM_S = 600
STREAMS_PER_STYLE_STREAM = 2
STYLE_KINDS = tuple(kind for kind in PRESENT if kind not in ("color", "sign", "scene"))
"""VideoQuestion about the held-out style: shapes, signs and scenes look the same in every style."""
ASKED_FROM_S = 30
MAX_SEED = (1 << 31) - 1
_SEEDS_PER_EXAM = 1 << 12
_MAJORITY_STREAMS, _MAJORITY_QUESTIONS = 8, 120

Style = Literal["seen", "held_out"]
Topic = Literal["all", "time"]


@dataclass(frozen=True)
class ExamOptions:
    """Equal options give equal questions about equal streams. `num_questions` is the total, or for
    `time` the number of each kind in ordinary wordings.
    """

    seed: int
    length_s: int
    num_streams: int
    num_questions: int
    names: Literal["core", "full"] = "core"
    frames_per_block: int = 1
    """Questions are asked when a block has just ended, so that every policy has seen it all."""
    topic: Topic = "all"

    @property
    def emoji(self) -> tuple[str, ...]:
        return emoji_names(full=self.names == "full")


@dataclass(frozen=True)
class ExamQuestion:
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
    """Draw the ordinary streams, then, unless it is about time, those in the held-out style."""
    first_seed = EXAMS.start + options.seed * _SEEDS_PER_EXAM
    if options.topic == "time":
        return [_time_stream(first_seed + i, i, options) for i in range(options.num_streams)]
    held_out = round(options.num_questions * HELD_OUT_SHARE)
    plain = options.num_questions - held_out
    streams = []
    for i in range(options.num_streams):
        script = write_script(first_seed + i, options.length_s, SEEN_STYLES, options.emoji)
        questions = [
            *_draw_part(script, i, plain, options, "train"),
            *_draw_part(script, i, held_out, options, "held_out"),
        ]
        streams.append(ExamStream(f"stream{i}", script, "seen", _in_order(questions)))
    return streams + _style_streams(first_seed + _SEEDS_PER_EXAM // 2, held_out, options)


def limited(streams: Sequence[ExamStream], num_questions: int | None) -> list[ExamStream]:
    """Limit the number of questions: takes the first of each stream, then the second, and so on."""
    if num_questions is None:
        return list(streams)
    numbered = list(enumerate(streams))
    turns = sorted((place, i) for i, one in numbered for place in range(len(one.questions)))
    shares = Counter(i for _, i in turns[:num_questions])
    return [replace(one, questions=one.questions[: shares[i]]) for i, one in numbered]


def _time_stream(seed: int, number: int, options: ExamOptions) -> ExamStream:
    script = write_script(seed, options.length_s, SEEN_STYLES, options.emoji)
    of_each = options.num_questions, round(options.num_questions * HELD_OUT_SHARE)
    ordinary, held_out = (parts(num, options.num_streams)[number] for num in of_each)
    every = options.frames_per_block
    questions = [
        *_draw_time(script, ordinary, "train", every),
        *_draw_time(script, held_out, "held_out", every),
    ]
    return ExamStream(f"stream{number}", script, "seen", _in_order(questions))


def _draw_time(
    script: Script, num_of_each: int, wording: Split, asked_every: int = 1
) -> list[ExamQuestion]:
    length_s = len(script.moments)
    edges_s = [0, *(int(min(end_s, length_s)) for end_s in AGES_S.values())]
    ages_s = [range(youngest, end) for youngest, end in pairwise(edges_s) if youngest < end]
    first_block = min(ASKED_FROM_S, length_s // 2) // asked_every
    asked = range((first_block + 1) * asked_every - 1, length_s, asked_every)
    num_by_kind = dict.fromkeys((*TIMED, NEVER_SO), num_of_each)
    rng = Random(f"{script.seed} time {wording}")
    drawn = draw_timed(script, num_by_kind, ages_s, rng, wording, asked)
    return [ExamQuestion(question, wording) for question in drawn]


def _style_streams(first_seed: int, num_questions: int, options: ExamOptions) -> list[ExamStream]:
    num_streams = max(1, options.num_streams // STREAMS_PER_STYLE_STREAM)
    length_s = min(options.length_s, MAX_STYLE_STREAM_S)
    streams = []
    for i, count in enumerate(parts(num_questions, num_streams)):
        script = write_script(first_seed + i, length_s, (HELD_OUT_STYLE,), options.emoji)
        drawn = _draw(script, 2 * num_questions, STYLE_KINDS, "train", options.frames_per_block)
        emoji = set(emoji_names(full=True))  # all other names are shapes
        drawn = [one for one in drawn if not one.question.names or emoji & {*one.question.names}]
        questions = Random(script.seed).sample(drawn, min(len(drawn), count))
        streams.append(ExamStream(f"style{i}", script, "held_out", _in_order(questions)))
    return streams


@cache
def majority_texts(options: ExamOptions) -> dict[str, str]:
    """Return for each kind the answer most often right in other streams of the same length."""
    is_about_time = options.topic == "time"
    asked: dict[str, list[Question]] = {kind: [] for kind in (TIMED if is_about_time else KINDS)}
    for seed in MAJORITY[:_MAJORITY_STREAMS]:
        script = write_script(seed, options.length_s, SEEN_STYLES, options.emoji)
        found = (
            _draw_time(script, _MAJORITY_QUESTIONS // len(TIMED), "train")
            if is_about_time
            else _draw(script, _MAJORITY_QUESTIONS, tuple(KINDS), "train")
        )
        for drawn in found:
            asked[drawn.question.kind].append(drawn.question)
    return {kind: _most_often_right(questions) for kind, questions in asked.items()}


def _most_often_right(questions: Sequence[Question]) -> str:
    def times_right(answer: str) -> int:
        return sum(score_question(question, answer).is_right for question in questions)

    answers = dict.fromkeys(question.answer for question in questions)
    return max(answers, key=times_right, default="")


def exam_digest(streams: Sequence[ExamStream], renderer: Renderer) -> str:
    """Return 16 hex digits over questions, scripts and some frames: another world, another exam."""
    digest = sha256()
    for stream in streams:
        digest.update(repr((stream.name, stream.style, stream.questions)).encode())
        digest.update(repr(stream.script.moments).encode())
        for moment in stream.script.moments[::60]:
            digest.update(renderer.frame(moment).tobytes())
    return digest.hexdigest()[:16]


def _draw_part(
    script: Script, number: int, num_questions: int, options: ExamOptions, wording: Split
) -> list[ExamQuestion]:
    """Draw stream `number`'s share of `num_questions`; its kinds follow on the last one's."""
    counts = parts(num_questions, options.num_streams)
    order = Random(options.seed).sample(tuple(KINDS), len(KINDS))
    begun = sum(counts[:number]) % len(order)
    kinds = order[begun:] + order[:begun]
    return _draw(script, counts[number], kinds, wording, options.frames_per_block)


def _draw(
    script: Script, num_questions: int, kinds: Sequence[str], wording: Split, asked_every: int = 1
) -> list[ExamQuestion]:
    rng = Random(f"{script.seed} {wording}")  # not the generator that drew the script
    asked_from_s = min(ASKED_FROM_S, len(script.moments) // 2)
    told = script, num_questions, rng, kinds, wording, asked_from_s, asked_every
    return [ExamQuestion(question, wording) for question in draw_questions(*told)]


def _in_order(questions: Sequence[ExamQuestion]) -> tuple[ExamQuestion, ...]:
    return tuple(sorted(questions, key=lambda drawn: drawn.question.asked_s))


def parts(total: int, num_parts: int) -> list[int]:
    """Split `total` into parts as equal as possible."""
    return [(total * (i + 1)) // num_parts - (total * i) // num_parts for i in range(num_parts)]
