"""named_time: finds the moment or stretch of stream time that a question's words name.

`at 12:30 what was there?` is about a moment, `between 1:00 and 2:30`, `since 5 min 10 s`, `before
2:05` and `in the last ten minutes` are about stretches. A question that names two moments in
another way, or none, may be about anything, and so may one about `the last minutes`, which does not
say how many. Times of day are not understood here.
"""

import re
from dataclasses import dataclass, field

from encoders import with_time_words

_MOMENT = r"(\d{1,6})h(\d{2})m(\d{2})s"
_BETWEEN = re.compile(
    rf"\b(?:between|from)\s+{_MOMENT}\s+(?:and|to|until|till)\s+{_MOMENT}", re.IGNORECASE
)
_ONE = re.compile(
    rf"(?:\b(?P<word>since|after|from|before|until|till|by|up\s+to)\s+)?{_MOMENT}", re.IGNORECASE
)
_COUNTS: dict[str, float] = {"half an": 0.5, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_COUNTS |= {"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "twelve": 12, "fifteen": 15}
_COUNTS |= {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60}
_LAST = re.compile(
    rf"\b(?:last|past|previous)\s+(?:"
    rf"(?P<count>\d{{1,6}}|{'|'.join(_COUNTS)})\s*(?P<unit>hours?|minutes?|mins?|seconds?|secs?)"
    r"|(?P<one>hour|minute|min|second|sec))\b",
    re.IGNORECASE,
)
_UNIT_S = {"h": 3600, "m": 60, "s": 1}


_JOINT = re.compile(r"\b(?:at|in|within|during|over|for|of|around)?\s*(?:the\s*)?$", re.IGNORECASE)


@dataclass(frozen=True)
class NamedTime:
    """Stream seconds; a moment has only `to_s`, and None is open. `rest` are the other words."""

    from_s: float | None
    to_s: float | None
    is_moment: bool = False
    rest: str = field(default="", compare=False)


def named_time(question: str, now_s: float) -> NamedTime | None:
    """Return what the question is about, as far as its words say; None if they do not. `now_s` is
    when it is asked. Later moments are nobody's memory and do not count as times.
    """
    text = with_time_words(question, written_time)
    moments = re.findall(_MOMENT, text)
    if any(_seconds(moment) > now_s for moment in moments) or len(moments) > 2:
        return None
    if len(moments) == 2:
        found = _BETWEEN.search(text)
        if found is None:
            return None
        start_s, end_s = sorted((_seconds(found.groups()[:3]), _seconds(found.groups()[3:])))
        return NamedTime(start_s, end_s, rest=_without(found, text))
    last = _LAST.search(text)
    if not moments:
        if last is None:
            return None
        return NamedTime(now_s - _length_s(last), now_s, rest=_without(last, text))
    one = _ONE.search(text)
    assert one is not None
    moment_s = _seconds(moments[0])
    word, rest = (one["word"] or "").lower(), _without(one, text)
    if word in ("since", "after", "from"):
        return NamedTime(moment_s, None, rest=rest)
    if word:
        return NamedTime(None, moment_s, rest=rest)
    return NamedTime(None, moment_s, is_moment=True, rest=rest)


def _without(named: re.Match[str], text: str) -> str:
    return f"{_JOINT.sub('', text[: named.start()])} {text[named.end() :]}".strip()


def written_time(stream_s: float) -> str:
    """Write it as `1h02m05s`. Hours go on after a day, unlike in a model's words."""
    seconds = int(stream_s)
    return f"{seconds // 3600}h{seconds // 60 % 60:02d}m{seconds % 60:02d}s"


def _seconds(moment: tuple[str, ...]) -> float:
    hours, minutes, seconds = (int(part) for part in moment)
    return float(hours * 3600 + minutes * 60 + seconds)


def _length_s(last: re.Match[str]) -> float:
    count = (last["count"] or "one").lower()
    number = _COUNTS[count] if count in _COUNTS else int(count)
    unit = last["unit"] or last["one"]
    return float(number * _UNIT_S[unit[0].lower()])
