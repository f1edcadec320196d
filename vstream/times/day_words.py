"""day_words: reads the words of a day, a part of a day or a length of time.

A day runs from midnight to midnight. Its morning is from 6 to 12, its afternoon from 12 to 18, its
evening from 18 to 23, its night from 23 to 6 of the next day; `tonight` is evening and night. The
library dateparser reads days and lengths themselves; a weekday is the latest before today, a date
without a year the latest that is not in the future. All in local time without a zone.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from dateparser.date import DateDataParser

_PARTS_H = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 23), "night": (23, 30)}
_TONIGHT_H = (18, 30)
_DAY_BEGINS_H = 6
"""Before that hour, `this evening` is still the one before midnight."""
PART = r"(?:morning|afternoon|evening|night)"
_WEEKDAY = r"(?:(?:last |this )?(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_ORDINAL = r"(?:\d{1,2}(?:st|nd|rd|th)?)"
_DATE = (
    r"(?:\d{4}-\d\d-\d\d"
    rf"|(?:(?:the )?{_ORDINAL}(?: of)? {_MONTH}|{_MONTH} (?:the )?{_ORDINAL})(?![:\w])"
    r"(?: (?:19|20)\d\d(?![:\w]))?)"
)
_NUMBER = (
    r"(?:\d{1,6}(?:\.\d{1,3})?|half an?|an?|(?:a )?few|(?:a )?couple(?: of)?|two|three|four|five"
    r"|six|seven|eight|nine|one|ten|eleven|twelve|fifteen"
    r"|(?:twenty|thirty|forty|fifty|sixty|ninety)(?:-(?:one|two|three|four|five|six|seven|eight"
    r"|nine))?)"
)
_UNIT = r"(?:seconds?|secs?|minutes?|mins?|hours?|hrs?)"
_LONG_UNIT = r"(?:days?|weeks?|months?)"
LENGTH = (
    rf"(?:{_NUMBER} (?:{_UNIT}|{_LONG_UNIT})(?:(?: and)? {_NUMBER} {_UNIT})*"
    rf"|(?:{_UNIT}|{_LONG_UNIT}))(?!\w)"
)
"""Such as `ten minutes`, `1 hour and 20 minutes`, `hour`; a space stands for any."""
SHORT_LENGTH = rf"(?:{_NUMBER} {_UNIT}(?:(?: and)? {_NUMBER} {_UNIT})*)"
"""Like LENGTH, of less than days and with a number."""
_PLAIN_DAY = (
    rf"(?:the day before yesterday|today|yesterday|last {_WEEKDAY}|{_NUMBER} {_LONG_UNIT} ago)"
)
DAY = (
    rf"(?:(?:on )?(?:{_PLAIN_DAY}|{_WEEKDAY}|{_DATE})(?: (?:in the )?{PART})?"
    rf"|this (?:{PART}|week|month)|last (?:night|evening|week|month)|tonight|overnight)"
)
"""Such as `yesterday`, `on Monday morning`, `3 November`, `last night`, `this week`."""
_WORDS = {"half a": "0.5", "half an": "0.5", "a few": "5", "few": "5", "a couple": "2"}
_WORDS |= {"couple": "2", "a couple of": "2", "couple of": "2"}


@dataclass(frozen=True)
class LocalStretch:
    """From `begin` to `end`; a time of day named with it is the first one after `clocks_from`."""

    begin: datetime
    end: datetime
    clocks_from: datetime


def spaced(pattern: str) -> str:
    """Return a pattern in which a space stands for what may stand between two words."""
    return pattern.replace(" ", r"(?:,\s*|\s+)")


_ALONE = re.compile(
    spaced(rf"on .*|{_PLAIN_DAY}|(?:this|last) .*|tonight|overnight|.* {PART}"), re.IGNORECASE
)
_COUNTED = re.compile(spaced(rf"({_NUMBER}) (?=[a-z])"), re.IGNORECASE)
_DAY_AND_PART = re.compile(
    spaced(rf"(?:on )?(?P<day>.*?)(?:(?: |^)(?:in the )?(?P<part>{PART}))?"), re.IGNORECASE
)


def stands_alone(words: str) -> bool:
    """Whether a DAY needs no word like `since` before it: `today` needs none, `Monday` does."""
    return _ALONE.fullmatch(words) is not None


def day_stretch(words: str, now: datetime) -> LocalStretch:
    """Return the stretch that a DAY names, maybe in the future. Raises ValueError for 31 June."""
    words = " ".join(words.lower().replace(",", " ").split())
    today = now.date()
    if words == "tonight":
        return _hours(_waking_day(now), *_TONIGHT_H)
    if words == "overnight":
        words = "last night"
    said = _DAY_AND_PART.fullmatch(words)
    assert said is not None, "there is nothing that it does not match"
    day, part = said["day"], said["part"]
    if day in ("this week", "last week", "this month", "last month"):
        return _calendar(day, today)
    if day == "this" and part is not None:
        return _hours(today if part == "morning" else _waking_day(now), *_PARTS_H[part])
    if day == "last" and part is not None:
        return _hours(today - timedelta(days=1), *_PARTS_H[part])
    for article in ("the ", "this "):
        day = day if day.startswith("the day") else day.removeprefix(article)
    found = _library(_with_digits(day), now)
    return _hours(found.date(), *(_PARTS_H[part] if part else (0, 24)))


def part_begun(part: str, now: datetime) -> LocalStretch:
    """Return the latest `morning`, `afternoon`, `evening` or `night` that has started."""
    begin_h, end_h = _PARTS_H[part.lower()]
    day = now.date() if now.hour >= begin_h else now.date() - timedelta(days=1)
    return _hours(day, begin_h, end_h)


def moment_before(length: str, now: datetime) -> datetime:
    """Return the moment `length`, a LENGTH, before `now`, in UTC. Raises ValueError if none."""
    utc = now.astimezone(UTC).replace(tzinfo=None)
    words = " ".join(length.lower().replace(",", " ").replace(" and ", " ").split())
    if not _COUNTED.match(words):
        words = f"1 {words}"
    return _library(f"{_with_digits(words)} ago", utc).replace(tzinfo=UTC)


def _library(words: str, now: datetime) -> datetime:
    """Read with dateparser; naive like `now`. Raises ValueError or OverflowError for nothing."""
    settings = {
        "RELATIVE_BASE": now.replace(tzinfo=None),
        "PREFER_DATES_FROM": "past",
        "RETURN_AS_TIMEZONE_AWARE": False,
    }
    found = DateDataParser(languages=["en"], settings=settings).get_date_data(words).date_obj
    if not isinstance(found, datetime) or found.year < 1970:
        raise ValueError(f"no calendar has {words}")
    return found


def _with_digits(words: str) -> str:
    """Put digits for words: dateparser knows `five` and `an`, but not how many are a few."""
    return _COUNTED.sub(lambda said: f"{_WORDS.get(said[1].lower(), said[1])} ", words)


def _waking_day(now: datetime) -> date:
    """Return the day that is not over until one has slept."""
    return now.date() - timedelta(days=now.hour < _DAY_BEGINS_H)


def _hours(day: date, begin_h: int, end_h: int) -> LocalStretch:
    midnight = datetime.combine(day, time())
    begin, end = midnight + timedelta(hours=begin_h), midnight + timedelta(hours=end_h)
    noon = midnight + timedelta(hours=12)
    return LocalStretch(begin, end, noon if begin > noon else midnight)


def _calendar(words: str, today: date) -> LocalStretch:
    """Return a week from Monday on, or a month."""
    if words.endswith("week"):
        first = today - timedelta(days=today.weekday())
        before_first = first - timedelta(days=7)
        after = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        before_first = (first - timedelta(days=1)).replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    begin, end = (first, after) if words.startswith("this") else (before_first, first)
    midnight = datetime.combine(begin, time())
    return LocalStretch(midnight, datetime.combine(end, time()), midnight)
