"""Questions: a stream and a moment in, a question with its exact answer and its evidence out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Literal

from eval.stream_world.fact import FactFinder
from eval.stream_world.history import History, Span
from eval.stream_world.past import PAST
from eval.stream_world.present import PRESENT
from eval.stream_world.script import Script
from eval.stream_world.vocabulary import clock, with_article

KINDS: dict[str, FactFinder] = {**PRESENT, **PAST}
Split = Literal["train", "held_out"]
"""`train` wordings were seen in training, `held_out` ones were not."""


@dataclass(frozen=True)
class Question:
    """One question, asked when `asked_s` was the last second seen.

    `evidence` are the spans of stream time that the answer rests on, none later than `asked_s`;
    `names` are the objects that the question is about.
    """

    kind: str
    text: str
    answer: str
    asked_s: int
    evidence: tuple[Span, ...]
    names: tuple[str, ...]

    @property
    def is_about_past(self) -> bool:
        return self.kind in PAST


@cache
def _all_phrasings() -> dict[str, dict[str, list[str]]]:
    text = files("eval.stream_world").joinpath("assets/phrasings.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, list[str]]] = json.loads(text)
    return loaded


def phrasings(kind: str, split: Split) -> tuple[str, ...]:
    """The wordings of a kind; `{n}` and `{m}` are objects, `{a}` is `{n}` with its article."""
    return tuple(_all_phrasings()[kind][split])


def ask(kind: str, history: History, rng: Random, split: Split = "train") -> Question | None:
    """One question of a kind about a history; None if there is nothing (clear) to ask."""
    if kind not in KINDS:
        raise KeyError(f"no question kind {kind!r}; the kinds are {', '.join(KINDS)}")
    fact = KINDS[kind](history, rng)
    if fact is None:
        return None
    text = rng.choice(phrasings(kind, split)).format(
        n=fact.name,
        m=fact.other,
        a=with_article(fact.name) if fact.name else "",
        t=clock(fact.time_s) if fact.time_s is not None else "",
    )
    names = tuple(name for name in (fact.name, fact.other) if name)
    return Question(kind, text, fact.answer, history.now.time_s, fact.evidence, names)


def draw_questions(
    script: Script,
    num_questions: int,
    rng: Random,
    kinds: Sequence[str] = tuple(KINDS),
    split: Split = "train",
) -> list[Question]:
    """Questions of all kinds in turn at random moments, in the order of asking.

    Fewer come back where the stream does not offer enough to ask about.
    """
    questions: list[Question] = []
    last = len(script.moments) - 1
    for attempt in range(num_questions * 4):
        if len(questions) == num_questions:
            break
        kind = kinds[attempt % len(kinds)]
        for _ in range(4):
            now = rng.randint(0 if rng.random() < 0.5 else last // 2, last)
            question = ask(kind, History(script.moments[: now + 1]), rng, split)
            if question is not None:
                questions.append(question)
                break
    return sorted(questions, key=lambda question: question.asked_s)
