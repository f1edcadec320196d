"""Questions: a question with its exact answer and evidence, about a moment of a stream."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from eval.stream_world.history import FactFinder, History, Period
from eval.stream_world.past import PAST
from eval.stream_world.present import PRESENT
from eval.stream_world.script import Script
from eval.stream_world.statement import Statement
from eval.stream_world.wording import Split, word_question

KINDS: dict[str, FactFinder] = {**PRESENT, **PAST}
TRIES_PER_QUESTION = 12
"""How many moments to try before another kind gets its turn."""


@dataclass(frozen=True)
class Question:
    """One question, asked when `asked_s` was the last second seen.

    `evidence` are the spans of stream time that a memory must hold to answer, none after `asked_s`;
    `names` are the objects it is about; `is_needle`: one of them appears only once in the whole
    stream. `statements` are what a timed question is about.
    """

    kind: str
    text: str
    answer: str
    asked_s: int
    evidence: tuple[Period, ...]
    names: tuple[str, ...]
    is_needle: bool = False
    statements: tuple[Statement, ...] = field(default=(), repr=False)

    @property
    def is_about_past(self) -> bool:
        return self.kind in PAST or bool(self.statements)

    @property
    def is_never_so(self) -> bool:
        """Whether it is a timed question about what never held."""
        return bool(self.statements) and not self.evidence

    @property
    def form(self) -> str:
        """The form of a timed question's statements: `object` if both are; "" for others."""
        forms = sorted((one.form for one in self.statements), key=("object",).count)
        return forms[0] if forms else ""

    @property
    def evidence_age_s(self) -> float | None:
        """How long before the question its oldest evidence began; None without evidence."""
        return self.asked_s - self.evidence[0].start_s if self.evidence else None


def ask(kind: str, history: History, rng: Random, split: Split = "train") -> Question | None:
    """Return one question of a kind about a history; None if there is nothing (clear) to ask."""
    if kind not in KINDS:
        raise KeyError(f"no question kind {kind!r}; the kinds are {', '.join(KINDS)}")
    fact = KINDS[kind](history, rng)
    if fact is None:
        return None
    text = word_question(
        kind,
        rng,
        split,
        name=fact.name,
        other=fact.other,
        time_s=fact.time_s,
        says_last=fact.differs_earlier,
    )
    names = tuple(name for name in (fact.name, fact.other) if name)
    is_needle = not set(names).isdisjoint(history.needles)
    return Question(kind, text, fact.answer, history.now.time_s, fact.evidence, names, is_needle)


def draw_questions(
    script: Script,
    num_questions: int,
    rng: Random,
    kinds: Sequence[str] = tuple(KINDS),
    split: Split = "train",
    asked_from_s: float = 0,
    asked_every: int = 1,
) -> list[Question]:
    """Draw questions of all kinds in turn, in the order of asking. The moments of asking are
    uniform from `asked_from_s` on, each the last of `asked_every` frames. Returns fewer questions
    if the stream does not offer enough.
    """
    history = History.of(script)
    earliest = bisect_left(script.moments, asked_from_s, key=lambda moment: moment.time_s)
    first, end = earliest // asked_every, len(script.moments) // asked_every
    questions: list[Question] = []
    if first >= end:
        return questions
    for attempt in range(num_questions * 4):
        if len(questions) == num_questions:
            break
        kind = kinds[attempt % len(kinds)]
        for _ in range(TRIES_PER_QUESTION):
            now = history.until((rng.randrange(first, end) + 1) * asked_every - 1)
            question = ask(kind, now, rng, split)
            if question is not None:
                questions.append(question)
                break
    return sorted(questions, key=lambda question: question.asked_s)
