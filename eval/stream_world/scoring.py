"""Scoring: the true and the given answer in, right or wrong out.

An answer is right if it equals the truth after normalisation: letter case, punctuation at the
ends and the order of a list do not matter (no question asks for an order of listing). A time is
right within `TIME_TOLERANCE_S` or `TIME_TOLERANCE_SHARE` of its age, whichever is more; how many
were right to the letter is kept beside it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from eval.stream_world.vocabulary import parse_clock

TIME_TOLERANCE_S = 3
TIME_TOLERANCE_SHARE = 0.05


@dataclass(frozen=True)
class Score:
    """`is_exact` is the stricter one: the same text but for spaces at the ends."""

    is_right: bool
    is_exact: bool


@dataclass(frozen=True)
class Tally:
    """How many of `num_questions` answers were right, and right to the letter."""

    num_questions: int
    num_right: int
    num_exact: int

    @property
    def accuracy(self) -> float:
        return self.num_right / self.num_questions if self.num_questions else 0.0

    @property
    def exact_share(self) -> float:
        return self.num_exact / self.num_questions if self.num_questions else 0.0


def score(truth: str, given: str, asked_s: int) -> Score:
    """Compare a given answer with the truth of a question asked at `asked_s`."""
    is_exact = given.strip() == truth
    true_s = parse_clock(truth)
    if true_s is not None:
        given_s = parse_clock(given)
        tolerance_s = max(TIME_TOLERANCE_S, TIME_TOLERANCE_SHARE * (asked_s - true_s))
        return Score(given_s is not None and abs(given_s - true_s) <= tolerance_s, is_exact)
    return Score(normalised(given) == normalised(truth), is_exact)


def normalised(answer: str) -> str:
    """Lower case, single spaces, no punctuation at the ends, lists in alphabetical order."""
    parts = (" ".join(part.split()).strip(" .!?") for part in re.split("[,;]", answer.lower()))
    return ", ".join(sorted(part for part in parts if part))


def tally(scores: Sequence[Score]) -> Tally:
    """Add up scores."""
    right = sum(score.is_right for score in scores)
    return Tally(len(scores), right, sum(score.is_exact for score in scores))
