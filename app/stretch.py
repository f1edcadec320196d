"""Parse the bounds of a range, in stream time (1:23) or clock time (-2h)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from app.stream_time import clock, parse_stream_time
from app.terminal import Terminal
from memory import MemoryReader
from vstream.errors import SettingsError
from vstream.search.stretch_blocks import Bounds, Covered
from vstream.times.when import parse_when, stream_range


def moment_of(words: str | None, now: datetime) -> float | datetime | None:
    """Parse stream time into seconds, or clock time into a datetime. Raises QuestionError."""
    if words is None:
        return None
    try:
        return parse_stream_time(words)
    except SettingsError:
        return parse_when(words, now)


def bounds_in(
    memory: MemoryReader, begin: float | datetime | None, end: float | datetime | None
) -> Bounds:
    begin_at, end_at = (
        one.timestamp() if isinstance(one, datetime) else None for one in (begin, end)
    )
    first_s, last_s = stream_range(memory, begin_at, end_at)
    return (
        first_s if isinstance(begin, datetime) else begin,
        last_s if isinstance(end, datetime) else end,
    )


def say_rest(terminal: Terminal, coverage: Mapping[str, Sequence[Covered]]) -> None:
    """Report how much of each stream was not looked at, or is no longer kept."""
    for name, parts in coverage.items():
        length_s = sum(part.to_s - part.from_s for part in parts)
        for kind, what in (("open", "not looked at"), ("gone", "no longer kept")):
            rest = [part for part in parts if part.kind == kind]
            rest_s = sum(part.to_s - part.from_s for part in rest)
            if rest_s:
                longest = max(rest, key=lambda part: part.to_s - part.from_s)
                terminal.say(
                    f"{name}: {rest_s / length_s:.0%} was {what}, e.g. {clock(longest.from_s)} "
                    f"to {clock(longest.to_s)}"
                )
