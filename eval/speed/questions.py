"""Measured questions, all of one length, as are their answers.

What a token costs must not depend on what a model says. So answers take the best token each time
and do not end before the stated number of tokens; sampled ones are measured besides.
"""

import statistics
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from itertools import cycle
from typing import NamedTuple

from encoders import Family
from vstream import AnswerStream, Question, VideoLLM
from vstream.decoding.token_choice import GREEDY, Decoding

QUESTION_TOKENS = 32
"""Including those of the template; longer than most questions."""
ANSWER_TOKENS = 32
LATER_TOKENS = ANSWER_TOKENS - 1
"""Of an answer, after its first."""
ASKED = 11
_WORDS = ("what", "is", "the", "red", "cup", "on", "table")
_OTHERS = ("red", "dog", "video", "frame")

Ask = Callable[[Question], AnswerStream]
Questions = Callable[[int], Question]
"""By number; neighbouring ones use different words."""


class Timed(NamedTuple):
    """Medians over questions asked one after the other."""

    first_token_ms: float
    token_ms: float
    context_tokens: int


def unending(model: VideoLLM) -> VideoLLM:
    """Return the same model, except that no token ends an answer."""
    family = copy(model.family)
    family.stop_ids = frozenset()
    return replace(model, family=family)


def measured_questions(family: Family, is_drawn: bool = False) -> Questions:
    """Return questions for an `unending` model; `is_drawn` samples answers at temperature 1."""
    texts = [_text(family, other) for other in _OTHERS]

    def question(number: int) -> Question:
        decoding = Decoding(temperature=1.0, seed=number) if is_drawn else GREEDY
        text = texts[number % len(texts)]
        return Question(text, decoding=replace(decoding, max_tokens=ANSWER_TOKENS))

    return question


def timed(ask: Ask, questions: Questions) -> Timed:
    """Time ASKED of them, not counting the first."""
    answers = [ask(questions(number)).answer for number in range(ASKED)][1:]
    times = [one.timings_ms for one in answers]
    return Timed(
        statistics.median(one.ttft for one in times),
        statistics.median(one.total - one.ttft for one in times) / LATER_TOKENS,
        answers[-1].context_tokens,
    )


def _text(family: Family, other: str) -> str:
    words = cycle(other if word == "red" else word for word in _WORDS)
    text = next(words)
    while len(family.question(text).embeddings) < QUESTION_TOKENS:
        text = f"{text} {next(words)}"
    length = len(family.question(text).embeddings)
    assert length == QUESTION_TOKENS, f"{text!r} has {length} tokens, wanted {QUESTION_TOKENS}"
    return text
