"""Scoring of timed questions: whether what was said is right.

An answer may be a sentence, but must commit to one thing: one time, one number, one duration, one
of the two names, yes or no. A time is right as in `scoring`, a number if it is the true one, a
duration within `HOW_LONG_S` or `HOW_LONG_SHARE` of the true one, whichever is more. What never held
must be denied.
"""

import re

from eval.stream_world.questions import Question
from eval.stream_world.scoring import NUMBERS, Score, is_about, score
from eval.stream_world.vocabulary import parse_clock

HOW_LONG_S = 3
HOW_LONG_SHARE = 0.1

_CLOCK = re.compile(r"\d+h\d+m\d+s")
_NOW = re.compile(r"\b(?:right )?now\b")
_DENIAL = re.compile(r"\b(?:never|not (?:yet )?(?:seen|shown|there|been))\b|^(?:no|none|not yet)\b")
_UNIT_S = {"h": 3600, "m": 60, "s": 1}
_UNIT = r"(h(?:(?:ou)?rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z])"
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*{_UNIT}")
_PARTS = re.compile(rf"{_PART.pattern}(?:[\s,]*(?:and\s+)?{_PART.pattern})*")
_MINUTES = re.compile(r"\b(\d+):(\d\d)\b")
_WORDS = NUMBERS | {"once": "1", "twice": "2"}


def score_question(question: Question, given: str) -> Score:
    """Score any question by the rules of its exam."""
    if not question.statements:
        return score(question.answer, given, question.asked_s)
    return Score(_is_right(question, given.lower()), given.strip() == question.answer)


def said_time(given: str, asked_s: float) -> float | None:
    """Return the only stream time it states; `right now` is the time of asking."""
    clocks = set(_CLOCK.findall(given))
    if clocks:
        return parse_clock(clocks.pop()) if len(clocks) == 1 else None
    return asked_s if _NOW.search(given.lower()) else None


def said_duration_s(given: str) -> float | None:
    """Return its only duration: `85`, `85 seconds`, `1 minute and 25 s`, `1m25s`, `1:25`."""
    plain = _with_digits(given)
    found = [
        sum(float(number) * _UNIT_S[unit[0]] for number, unit in _PART.findall(whole[0]))
        for whole in _PARTS.finditer(plain)
    ]
    found += [int(minutes) * 60.0 + int(seconds) for minutes, seconds in _MINUTES.findall(plain)]
    if not found:
        return said_number(plain)
    return found[0] if len(found) == 1 else None


def said_number(given: str) -> int | None:
    """Return the only whole number it states besides stream times."""
    numbers = re.findall(r"\b\d+\b", _CLOCK.sub("", _with_digits(given)))
    return int(numbers[0]) if len(numbers) == 1 else None


def _is_right(question: Question, given: str) -> bool:
    is_count, is_length = question.kind == "count_times", question.kind == "how_long"
    told = said_number(given) if is_count else said_duration_s(given) if is_length else None
    if question.is_never_so:
        return told == 0 or (
            told is None and not _CLOCK.search(given) and bool(_DENIAL.search(given.strip()))
        )
    if is_count:
        return told == said_number(question.answer)
    if is_length:
        true_s = said_duration_s(question.answer) or 0
        return told is not None and abs(told - true_s) <= max(HOW_LONG_S, HOW_LONG_SHARE * true_s)
    if question.kind == "order":
        named = [one for one in question.statements if re.search(rf"\b{one.name}\b", given)]
        return [f"the {one.words}" for one in named] == [question.answer]
    if question.kind == "while":
        return re.findall(r"\b(?:yes|no)\b", given) == [question.answer]
    at_s, given_s = said_time(question.answer, question.asked_s), said_time(given, question.asked_s)
    return at_s is not None and given_s is not None and is_about(at_s, given_s, question.asked_s)


def _with_digits(text: str) -> str:
    return re.sub(r"[a-z]+", lambda word: _WORDS.get(word[0], word[0]), text.lower())
