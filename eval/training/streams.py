"""StreamBatches: draws the streams of a step, with questions about them.

Each step has its own seeds, so a run that resumes after a break sees what it would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import TokenizersBackend

from eval.stream_world import (
    KINDS,
    History,
    Question,
    Renderer,
    Script,
    draw_questions,
    write_script,
)
from eval.stream_world.seeds import stream_training
from eval.stream_world.vocabulary import SIGN, clock, emoji_names, shape_names
from eval.stream_world.wording import noisy
from eval.training.frames import UNKNOWN, FrameBatch, OnDevice, frame_batch, joined
from eval.training.parallel import Share
from eval.training.presets import Preset, streams_number, world_of
from eval.training.wordings import (
    ANSWER,
    NOISE_SHARE,
    UNANSWERABLE,
    Meaning,
    draw_wording,
    unanswerable,
)

SHOWN_SHARE = 0.6
"""Share of questions that are shown their evidence even if they do not retrieve it."""
EXTRA_TURNS = (
    *("motion", "motion", "recent", "recent", "sign", "list", "order", "count_times"),
    *("after", "after", "before", "before", "at_time", "at_time", "when_first", "when_last"),
    *("where_past", "last_minute", "last_minute"),
)
"""Kinds that are harder to learn come up two or three times as often."""
UNANSWERABLE_SHARE = 0.05
STRANGE_NAMES_SHARE = 0.2
"""Share of streams also asked about names that never appear in any of them."""
AROUND_TIME = 3
"""Frames this near a time asked for are not counted as wrong finds."""


@dataclass(frozen=True, eq=False)
class StreamBatch(OnDevice):
    """Streams one after another and the questions about them, padded to one length.

    Questions are the first axis: `meaning` is what they ask, `text` are their tokens and those of
    the answers, `label` the token to predict at each place (UNKNOWN: none), `own` marks the words
    of the question itself. `frame` is the newest frame that a question may see, `first` the first
    of its stream. `evidence` is what it should find, `related` what it may also find, `wanted` what
    it is shown anyway. `wordings` are further questions, with neither a stream nor an answer.
    """

    frames: FrameBatch
    times: Int[Tensor, "frames words"]
    meaning: Meaning
    wordings: Int[Tensor, "wordings text"]
    wordings_meaning: Meaning
    text: Int[Tensor, "questions text"]
    label: Int[Tensor, "questions text"]
    own: Bool[Tensor, "questions text"]
    frame: Int[Tensor, " questions"]
    first: Int[Tensor, " questions"]
    evidence: Bool[Tensor, "questions frames"]
    related: Bool[Tensor, "questions frames"]
    wanted: Bool[Tensor, "questions frames"]

    def of(self, rows: Int[Tensor, " rows"]) -> "StreamBatch":
        """Return the same streams with only these questions."""
        length = int((self.text[rows] > 0).sum(1).max())
        words = {name: getattr(self, name)[rows, :length] for name in ("text", "label", "own")}
        marks = ("frame", "first", "evidence", "related", "wanted")
        by_question = {name: getattr(self, name)[rows] for name in marks}
        meaning = Meaning(self.meaning.kind[rows], self.meaning.names[rows])
        return replace(self, meaning=meaning, **words, **by_question)


class StreamBatches(Dataset[StreamBatch]):
    """Step number -> streams with their questions."""

    def __init__(
        self, preset: Preset, seed: int, tokenizer: TokenizersBackend, share: Share
    ) -> None:
        self._preset, self._seed, self._tokenizer = preset, seed, tokenizer
        self._share = share
        self._renderer = Renderer(preset.shape.image_px)
        self._rendered: dict[int, tuple[list[Script], FrameBatch]] = {}

    def __getitem__(self, step: int) -> StreamBatch:
        rng = Random(f"step {step} of {self._seed}, {self._share.rank} of {self._share.count}")
        questions: list[_TokenQuestion] = []
        times: list[str] = []
        scripts, frames = self._streams(streams_number(self._preset, step))
        for number, played in enumerate(scripts):
            script = self._retold(played, rng)
            questions += self._questions(script, rng, number * self._preset.stream_s)
            times += [clock(moment.time_s) for moment in script.moments]
        drawn = [
            draw_wording(rng, (*emoji_names(full=True), *shape_names()))
            for _ in range(self._preset.wordings)
        ]
        return StreamBatch(
            frames,
            torch.tensor(self._ids(times)),
            Meaning.of([(one.kind, one.names) for one in questions]),
            self._wordings([text for text, _, _ in drawn]),
            Meaning.of([(kind, names) for _, kind, names in drawn]),
            *_padded(questions, len(times)),
        )

    def _streams(self, number: int) -> tuple[list[Script], FrameBatch]:
        """Return rendered streams; the last few are cached, as they are asked about again."""
        if number not in self._rendered:
            preset = self._preset
            first = stream_training(self._seed).start
            first += (number * self._share.count + self._share.rank) * preset.streams
            scripts = [
                write_script(first + i, preset.stream_s, preset.styles, world_of(preset))
                for i in range(preset.streams)
            ]
            frames = joined([frame_batch(script.moments, self._renderer) for script in scripts])
            if len(self._rendered) == preset.apart:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[number] = scripts, frames
        return self._rendered[number]

    def _retold(self, script: Script, rng: Random) -> Script:
        """Return it at other times, and sometimes with more names to ask about."""
        length = self._preset.stream_s
        if rng.random() < STRANGE_NAMES_SHARE:
            script = replace(script, names=(*emoji_names(full=True), *shape_names(), SIGN))
        return script.retimed(_draw_times(rng, length))

    def _questions(self, script: Script, rng: Random, first: int) -> list["_TokenQuestion"]:
        kinds = rng.sample([*KINDS, *EXTRA_TURNS], len(KINDS) + len(EXTRA_TURNS))
        index_of = {moment.time_s: index for index, moment in enumerate(script.moments)}
        history = History.of(script)
        drawn = draw_questions(script, self._preset.questions, rng, kinds, "spoken")
        words = [word for question in drawn for word in question.text.split()]
        questions = []
        for question in drawn:
            if rng.random() < UNANSWERABLE_SHARE:
                question = _without_answer(question, script, words, rng)
            text = question.text
            if rng.random() < NOISE_SHARE:
                text = noisy(text, question.names, rng)
            evidence = _frames_of(question, index_of)
            related = evidence | _sightings(history, question, index_of)
            shown = _ends(evidence) if rng.random() < SHOWN_SHARE else set()
            ask, answer = self._ids([text, f" {question.answer}"])
            if len(ask) + len(answer) + 3 > self._preset.text_tokens:
                continue
            newest = index_of[question.asked_s]
            questions.append(
                _TokenQuestion(
                    question.kind,
                    question.names,
                    [self._special("<|user|>"), *ask, self._special("<|assistant|>")],
                    [*answer, self._special("<|end|>")],
                    first + newest,
                    first,
                    {first + frame for frame in evidence if question.is_about_past},
                    {first + frame for frame in related if frame <= newest},
                    {first + frame for frame in shown},
                )
            )
        return questions

    def _wordings(self, texts: list[str]) -> Int[Tensor, "wordings text"]:
        """Encode as a question starts, up to where the answer would."""
        user, assistant = self._special("<|user|>"), self._special("<|assistant|>")
        rows = [torch.tensor([user, *ids, assistant]) for ids in self._ids(texts)]
        if not rows:
            return torch.zeros(0, 1, dtype=torch.long)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(texts, add_special_tokens=False).input_ids
        return ids

    def _special(self, token: str) -> int:
        return self._ids([token])[0][0]


@dataclass(frozen=True)
class _TokenQuestion:
    """A question in tokens; frames are counted over all streams of the step."""

    kind: str
    names: tuple[str, ...]
    ask: list[int]
    answer: list[int]
    frame: int
    first: int
    evidence: set[int]
    related: set[int]
    wanted: set[int]


def _padded(questions: list[_TokenQuestion], num_frames: int) -> tuple[Tensor, ...]:
    length = max(len(one.ask) + len(one.answer) for one in questions)
    text = torch.zeros(len(questions), length, dtype=torch.long)
    label = torch.full_like(text, UNKNOWN)
    own = torch.zeros_like(text, dtype=torch.bool)
    seen = torch.zeros(3, len(questions), num_frames, dtype=torch.bool)
    for row, one in enumerate(questions):
        middle, end = len(one.ask), len(one.ask) + len(one.answer)
        text[row, :end] = torch.tensor(one.ask + one.answer)
        label[row, middle - 1 : end - 1] = text[row, middle:end]
        own[row, 1 : middle - 1] = True
        for mask, frames in zip(seen, (one.evidence, one.related, one.wanted), strict=True):
            mask[row, sorted(frames)] = True
    newest = torch.tensor([one.frame for one in questions])
    first = torch.tensor([one.first for one in questions])
    return text, label, own, newest, first, seen[0], seen[1], seen[2]


def _without_answer(
    question: Question, script: Script, words: Sequence[str], rng: Random
) -> Question:
    text = unanswerable(rng, script.names, words)
    return replace(question, kind=UNANSWERABLE, text=text, answer=ANSWER, evidence=(), names=())


def _frames_of(question: Question, index_of: dict[int, int]) -> set[int]:
    runs = [(index_of[span.start_s], index_of[span.end_s]) for span in question.evidence]
    return {frame for first, last in runs for frame in range(first, last + 1)}


def _sightings(history: History, question: Question, index_of: dict[int, int]) -> set[int]:
    """Return frames that show what the question is about, or are near the time it names."""
    newest = index_of[question.asked_s]
    if question.kind == "at_time":
        at = index_of[question.evidence[0].start_s]
        return set(range(max(0, at - AROUND_TIME), min(newest, at + AROUND_TIME) + 1))
    seen = history.until(newest)
    return {frame for name in question.names for frame in seen.sightings(name)}


def _ends(frames: set[int]) -> set[int]:
    return {f for f in frames if f - 1 not in frames or f + 1 not in frames}


def _draw_times(rng: Random, num_frames: int) -> list[int]:
    """Return increasing times within seven hours: mostly a frame a second, with or without gaps."""
    pace_s = rng.choice((1, 1, 1, 1, 1, 2, 3))
    gap_chance = rng.choice((0, 0, 0, 0.01, 0.03))
    time_s = rng.choice((0, rng.randint(0, 900), rng.randint(0, 15_000)))
    times_s = []
    for _ in range(num_frames):
        times_s.append(time_s)
        time_s += pace_s
        if rng.random() < gap_chance:
            shortest, longest = rng.choice(((2, 30), (30, 400), (100, 1500)))
            time_s += rng.randint(shortest, longest)
    return times_s if time_s < 7 * 3600 else [t // 4 + i for i, t in enumerate(times_s)]
