"""zone: finds a time zone by its name, and writes moments as people there do."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from vstream.errors import QuestionError


def zone_of(name: str) -> ZoneInfo:
    """Raises QuestionError for an unknown name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, a path out of the database, a folder of it
        raise QuestionError(
            f"{name!r} is no time zone: give an IANA name, as Europe/Prague or UTC"
        ) from None


def local_range(begin: float | None, end: float | None, zone: ZoneInfo) -> str:
    """Write `2026-11-24 18:00:00 to 23:00:00 (Europe/Prague)`, from seconds since the epoch."""
    if begin is None and end is None:
        return f"all time ({zone.key})"
    first = None if begin is None else datetime.fromtimestamp(begin, zone)
    last = None if end is None else datetime.fromtimestamp(end, zone)
    if first is None or last is None:
        only = first or last
        return f"{'up to' if first is None else 'since'} {only:%Y-%m-%d %H:%M:%S} ({zone.key})"
    is_one_day = first.date() == last.date()
    until = f"{last:%H:%M:%S}" if is_one_day else f"{last:%Y-%m-%d %H:%M:%S}"
    return f"{first:%Y-%m-%d %H:%M:%S} to {until} ({zone.key})"


def recap_title(
    count: int, streams: Iterable[str], begin: float | None, end: float | None, zone: ZoneInfo
) -> str:
    """As `5 things came or left: door, gate, 2026-12-01 08:00:00 to 12:00:00 (UTC)`."""
    things = "1 thing" if count == 1 else f"{count or 'no'} things"
    return f"{things} came or left: {', '.join(streams)}, {local_range(begin, end, zone)}"
