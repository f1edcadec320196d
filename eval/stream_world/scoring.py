"""Scoring: whether a given answer is right.

An answer is right if it equals the truth after normalisation: letter case, articles, punctuation at
the ends, numbers in words and the order of a list do not matter (no question asks for an order of
listing). A time is right within `TIME_TOLERANCE_S` or `TIME_TOLERANCE_SHARE` of its age, whichever
is more, and `right now` is the time of asking; exact matches are counted separately.
"""

import re
from dataclasses import dataclass

from eval.stream_world.vocabulary import parse_clock

NOW = "right now"
TIME_TOLERANCE_S = 3
TIME_TOLERANCE_SHARE = 0.05

_TIME = re.compile(r"(at )?\d+h\d+m\d+s")
_ARTICLES = frozenset(("a", "an", "the"))
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED.split())}


@dataclass(frozen=True)
class Score:
    """`is_exact` is stricter: the same text except for spaces at the ends."""

    is_right: bool
    is_exact: bool


def score(truth: str, given: str, asked_s: int) -> Score:
    """Compare a given answer with the truth of a question asked at `asked_s`."""
    is_exact = given.strip() == truth
    true_s = _stated_time(truth, asked_s)
    if true_s is not None:
        given_s = _stated_time(given, asked_s)
        return Score(given_s is not None and is_about(true_s, given_s, asked_s), is_exact)
    return Score(normalised(given) == normalised(truth), is_exact)


def is_about(true_s: float, given_s: float, asked_s: float) -> bool:
    tolerance_s = max(TIME_TOLERANCE_S, TIME_TOLERANCE_SHARE * (asked_s - true_s))
    return abs(given_s - true_s) <= tolerance_s


def _stated_time(answer: str, asked_s: int) -> int | None:
    plain = normalised(answer)
    if plain == NOW:
        return asked_s
    return parse_clock(plain) if _TIME.fullmatch(plain) else None


def normalised(answer: str) -> str:
    """Return lower case, no articles, no punctuation at the ends, lists sorted."""
    parts = (_plain(part) for part in re.split("[,;]", answer.lower()))
    return ", ".join(sorted(part for part in parts if part))


def _plain(part: str) -> str:
    words = part.strip(" .!?").split()
    return " ".join(NUMBERS.get(word, word) for word in words if word not in _ARTICLES)
