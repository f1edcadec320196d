"""time_of_day: reads a time of day in words, such as `2:07 pm`, and finds its place on days.

A time without am or pm is one of 24 hours, except an end of a range whose other end has one:
`between 11 and 1 pm` starts at 11, `from 9 am to 5` ends at 17. Local times without a zone.
"""

import re
from datetime import datetime, time, timedelta

CLOCK = (
    r"(?:\d{1,2}(?:[:.][0-5]\d(?::[0-5]\d)?)?\s?[ap](?:m\b|\.m\b\.?)|\d{1,2}:[0-5]\d(?::[0-5]\d)?"
    r"|noon|midday|midnight)(?![\d:%/]|\.\d)"
)
"""What is a time of day by itself, after a word like `at`."""
HOUR = r"(?:\d{1,2}(?![\d:.%/]\d|[%/]))"
"""What is one as an end of a range, if the other end is a CLOCK."""
_PARTS = re.compile(r"(\d{1,2})(?:[:.](\d\d))?(?::(\d\d))?\s?(?:([ap])\.?m\.?)?", re.IGNORECASE)
_NAMED = {"noon": time(12), "midday": time(12), "midnight": time(0)}
_DAY = timedelta(days=1)


def clock_of(words: str) -> time:
    """Return the time that a CLOCK or HOUR names. Raises ValueError if none, as for 25:10."""
    (found,) = _readings(words, either_half=False)
    return found


def clock_pair(first: str | None, last: str | None) -> tuple[time, time]:
    """Return the nearest times that both ends may be; None may be any. Raises ValueError."""
    both = [
        (begin, end)
        for begin in _readings(first or "noon", _has_half(last or ""))
        for end in _readings(last or "noon", _has_half(first or ""))
    ]
    return min(both, key=lambda pair: _gap(*pair))


def following(clock: time, moment: datetime) -> datetime:
    """Return the first time from `moment` on when a clock shows `clock`."""
    at = datetime.combine(moment.date(), clock)
    return at if at >= moment else at + _DAY


def preceding(clock: time, moment: datetime) -> datetime:
    """Return the last time before `moment` when a clock shows `clock`."""
    at = datetime.combine(moment.date(), clock)
    return at if at < moment else at - _DAY


def has_seconds(words: str) -> bool:
    """Whether a CLOCK names seconds."""
    found = _PARTS.fullmatch(words)
    return found is not None and found[3] is not None


def _readings(words: str, either_half: bool) -> list[time]:
    if words.lower() in _NAMED:
        return [_NAMED[words.lower()]]
    found = _PARTS.fullmatch(words)
    if found is None:
        return []
    hour, minute, second = (int(part or 0) for part in found.groups()[:3])
    half = (found[4] or "").lower()
    if hour > 23 or (half and not 1 <= hour <= 12):
        return []
    if half:
        return [time(hour % 12 + 12 * (half == "p"), minute, second)]
    if either_half and 1 <= hour <= 12:
        return [time(hour % 12, minute, second), time(hour % 12 + 12, minute, second)]
    return [time(hour, minute, second)]


def _has_half(words: str) -> bool:
    return words.lower() in _NAMED or re.search(r"[ap]\.?m", words, re.IGNORECASE) is not None


def _gap(begin: time, end: time) -> timedelta:
    begin_at = datetime.combine(datetime(2000, 1, 1), begin)
    return following(end, begin_at + timedelta(microseconds=1)) - begin_at
