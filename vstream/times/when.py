"""parse_when: a moment as programs write it in, as `2026-11-03T14:00:00Z` or `-10m`, in UTC out.

`stream_range` and `stream_time_since` have clock times in, the stream times of the blocks captured
then out. Blocks are captured in their order, so a bisection finds the edges of a stretch. A
camera's clock may have stepped back by some seconds: then the edges are right to that many, and
what lies between them is one run of blocks.
"""

import math
import re
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, time, timedelta

from memory import MemoryReader
from vstream.errors import QuestionError
from vstream.times.day_words import SHORT_LENGTH, moment_before, spaced

_EPOCH = re.compile(r"[0-9]{1,11}(?:\.[0-9]+)?")
_MINUS = re.compile(r"-(?:[0-9]{1,6}[dhms])+")
_DAY = timedelta(days=1)
_AGO = re.compile(spaced(rf"({SHORT_LENGTH}|\d{{1,6}} (?:days?|weeks?)) ago"), re.IGNORECASE)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_DAYS_AGO = {"today": 0, "yesterday": 1}
ALLOWED = (
    "write RFC 3339 with an offset, as 2026-11-03T14:00:00+01:00, seconds since the epoch, as "
    "1762174800, or a time before now, as -10m, -1h30m, `10 minutes ago`, 8:00 (when it was that "
    "last), today, yesterday (which mean when that day begins) or now"
)


def parse_when(text: str | None, now: datetime) -> datetime | None:
    """In UTC; None for None or nothing. `now` (with a zone) is what relative times are before.

    Raises QuestionError for anything else than is allowed. A date and time without an offset is one
    in the zone of `now`.
    """
    words = (text or "").strip()
    if not words:
        return None
    try:
        return _parsed(words, now)
    except (OverflowError, ValueError, OSError):
        raise QuestionError(f"{words[:80]!r} is no moment: {ALLOWED}") from None


def _parsed(words: str, now: datetime) -> datetime:
    if words.lower() == "now":
        return now.astimezone(UTC)
    if words.lower() in _DAYS_AGO:
        day = now.date() - timedelta(days=_DAYS_AGO[words.lower()])
        return datetime.combine(day, time(), now.tzinfo).astimezone(UTC)
    if at := _CLOCK.fullmatch(words):
        hours, minutes, seconds = map(int, at.groups(default="0"))
        return clock_before(time(hours, minutes, seconds), now).astimezone(UTC)
    if _MINUS.fullmatch(words.lower()):
        return moment_before(" ".join(re.findall(r"\d+[dhms]", words.lower())), now)
    if ago := _AGO.fullmatch(words):
        return moment_before(ago[1], now)
    if _EPOCH.fullmatch(words):
        return datetime.fromtimestamp(float(words), UTC)
    moment = datetime.fromisoformat(words)
    if len(words) < len("2026-11-03T14:00"):
        raise ValueError("a day, or a week of a year")
    return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).astimezone(UTC)


def clock_before(at: time, now: datetime) -> datetime:
    """When a clock in the zone of `now` last showed `at`."""
    today = datetime.combine(now.date(), at, now.tzinfo)
    return today if today <= now else datetime.combine(now.date() - _DAY, at, now.tzinfo)


def stream_range(
    memory: MemoryReader, begin: float | None, end: float | None
) -> tuple[float, float]:
    """The `from_s` and `to_s` with which exactly the blocks captured from `begin` to `end` show.

    Seconds since the epoch; a bound that is None is open. Of nothing it is (inf, -inf), which shows
    nothing.
    """
    ids = memory.visible(None)

    def captured_at(block_id: int) -> float:
        return memory.info(block_id).captured_at

    first = 0 if begin is None else bisect_left(ids, begin, key=captured_at)
    behind = len(ids) if end is None else bisect_right(ids, end, key=captured_at)
    if first >= behind:
        return math.inf, -math.inf
    return memory.info(ids[first]).end_s, memory.info(ids[behind - 1]).end_s


def stream_time_since(memory: MemoryReader, at: float) -> float | None:
    """Stream time of a moment since the newest block was captured, as frames yet to be encoded have
    it; None before that, or without blocks. `at` is seconds since the epoch.
    """
    ids = memory.visible(None)
    if not ids:
        return None
    newest = memory.info(ids[-1])
    return newest.end_s + at - newest.captured_at if at >= newest.captured_at else None
