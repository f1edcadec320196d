"""Spoken time: replaces stream times as people type them with a caller's words for them.

They type `12:30` (minutes and seconds), `1:02:05`, `2 min 5 s`, `1 hour and 2 minutes`, `minute 3`
and `at 45 seconds`. What is no moment of the stream stays unchanged: durations (`the last 1:30`, `2
min 5 s ago`) and times of day (`3:15 pm`).
"""

import re
from collections.abc import Callable
from functools import partial

_UNIT = r"\d{1,6}[ -]?(?:hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s)(?![a-z])"
_MINUTE, _SECOND = r"minute \d{1,6}", r"second \d{1,6}"
_AND = r"(?:,? and |, ?| )?"
_TYPED = re.compile(
    r"(?P<length>\b(?:last|past|previous|next|first|for|within|every|than) +)?"
    r"(?P<at>\b(?:at|around) +(?:the +)?)?"
    r"(?:(?P<clock>(?<![\d:.])(?:\d{1,2}:)?\d{1,4}:[0-5]\d(?!\d|[:.]\d| ?[ap]\.?m\b))"
    rf"|(?P<units>(?<![\w.:]){_UNIT}(?:{_AND}{_UNIT})*)(?: mark\b)?"
    rf"|(?P<ordinals>\b(?:{_MINUTE}(?:{_AND}{_SECOND})?|{_SECOND})(?!\w|[:.]\d)))"
    r"(?P<ago> +(?:ago|earlier|later|long)\b)?",
    re.IGNORECASE,
)
_UNIT_S = {"h": 3600, "m": 60, "s": 1}


def with_time_words(text: str, words: Callable[[int], str]) -> str:
    """Replace every moment that the text names by `words(seconds)`."""
    return _TYPED.sub(partial(_reworded, words), text)


def _reworded(words: Callable[[int], str], typed: re.Match[str]) -> str:
    moment_s = _moment_s(typed)
    if moment_s is None:
        return typed[0]
    # Keep everything else that the pattern matched, except "the" and "mark".
    before = (typed["length"] or "") + ("at " if typed["at"] else "")
    return before + words(moment_s) + (typed["ago"] or "")


def _moment_s(typed: re.Match[str]) -> int | None:
    """Return the moment in seconds; None for a duration, or for `5 minutes` without an `at`."""
    length = (typed["length"] or "").strip().lower()
    if typed["ago"] or length in ("last", "past", "previous", "next"):
        return None
    if typed["clock"]:
        *hours, minutes, seconds = (int(part) for part in typed["clock"].split(":"))
        return sum(hours) * 3600 + minutes * 60 + seconds
    if length:
        return None
    if typed["units"]:
        units = re.findall(r"(\d+)[ -]?([hms])", typed["units"].lower())
        if len(units) == 1 and not typed["at"]:
            return None
        return sum(int(number) * _UNIT_S[unit] for number, unit in units)
    ordinals = re.findall(r"([ms])\w+ (\d+)", typed["ordinals"].lower())
    if ordinals[0][0] == "s" and not typed["at"]:
        return None
    return sum(int(number) * _UNIT_S[unit] for unit, number in ordinals)
