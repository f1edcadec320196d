"""parse_when: reads a moment as programs write it, such as `2026-11-03T14:00:00Z` or `-10m`.

`stream_range` turns clock times into the stream times of the blocks captured then, `moments_range`
into those of all moments. Blocks are captured in their order, so a bisection finds the edges of a
stretch. If a camera's clock has stepped back by some seconds, the edges are off by no more than
that, and what lies between them is one run of blocks.
"""

import math
import re
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from vstream.errors import QuestionError
from vstream.times.day_words import SHORT_LENGTH, moment_before, spaced

if TYPE_CHECKING:
    from memory import BlockInfo, MemoryReader

_EPOCH = re.compile(r"[0-9]{1,11}(?:\.[0-9]+)?")
_MINUS = re.compile(r"-(?:[0-9]{1,6}[dhms])+")
_DAY = timedelta(days=1)
_NO_LATER_S = 1e10
"""No stream has a later moment."""
_AGO = re.compile(spaced(rf"({SHORT_LENGTH}|\d{{1,6}} (?:days?|weeks?)) ago"), re.IGNORECASE)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")
_DAYS_AGO = {"today": 0, "yesterday": 1}
ALLOWED = (
    "write RFC 3339 with an offset, as 2026-11-03T14:00:00+01:00, seconds since the epoch, as "
    "1762174800, or a time before now, as -10m, -1h30m, `10 minutes ago`, 8:00 (when it was that "
    "last), today, yesterday (which mean when that day begins) or now"
)


def parse_when(text: str | None, now: datetime) -> datetime | None:
    """Return it in UTC; None for None or nothing. Relative times are before `now`, which has a
    zone; a date and time without an offset is in that zone. Raises QuestionError for anything that
    is not allowed.
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
    """Return when a clock in the zone of `now` last showed `at`."""
    today = datetime.combine(now.date(), at, now.tzinfo)
    return today if today <= now else datetime.combine(now.date() - _DAY, at, now.tzinfo)


def stream_range(
    memory: "MemoryReader", begin: float | None, end: float | None
) -> tuple[float, float]:
    """Return the `from_s` and `to_s` that show exactly the blocks captured from `begin` to `end`,
    in seconds since the epoch; a bound that is None is open. Without blocks it is (inf, -inf),
    which shows nothing.
    """
    ids = memory.visible(None)

    def captured_at(block_id: int) -> float:
        return memory.info(block_id).captured_at

    first = 0 if begin is None else bisect_left(ids, begin, key=captured_at)
    behind = len(ids) if end is None else bisect_right(ids, end, key=captured_at)
    if first >= behind:
        return math.inf, -math.inf
    return memory.info(ids[first]).end_s, memory.info(ids[behind - 1]).end_s


def moments_range(
    memory: "MemoryReader", begin: float | None, end: float | None
) -> tuple[float, float]:
    """Return the stream time from `begin` to `end`, bounds as in `stream_range`, with the moments
    between two blocks, before the first and after the last.

    Stream time keeps step with the clock. If it did not between two blocks, as when a file started
    over, all time between them counts. Without blocks it is all time.
    """
    begin, end = -math.inf if begin is None else begin, math.inf if end is None else end
    ids = memory.visible(None)
    if not ids:
        return 0.0, _NO_LATER_S

    def captured_at(block_id: int) -> float:
        return memory.info(block_id).captured_at

    def around(at: int) -> "tuple[BlockInfo | None, BlockInfo | None]":
        before = memory.info(ids[at - 1]) if at else None
        return before, memory.info(ids[at]) if at < len(ids) else None

    before, first = around(bisect_left(ids, begin, key=captured_at))
    since_s = math.nextafter(before.end_s, math.inf) if before else 0.0
    last, behind = around(bisect_right(ids, end, key=captured_at))
    until_s = math.nextafter(behind.start_s, -math.inf) if behind else math.inf
    from_s = _moment(before, first, begin, since_s)
    return max(0.0, from_s), _moment(last, behind, end, until_s)


def _moment(
    before: "BlockInfo | None", behind: "BlockInfo | None", at: float, unless_s: float
) -> float:
    """Return the stream time of `at` between two blocks; `unless_s` if it lost step there."""
    after_s = math.inf if before is None else before.end_s + (at - before.captured_at)
    until_s = math.inf if behind is None else behind.end_s - (behind.captured_at - at)
    return min(after_s, until_s if before is None else max(until_s, unless_s))
