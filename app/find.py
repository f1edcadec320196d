"""`vstream find`: when something was so in stored streams, by the model's own yes or no."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from app.model import load_model
from app.stream_time import clock, parse_stream_time
from app.terminal import Terminal
from memory import MemoryReader
from vstream.config import VStreamConfig
from vstream.errors import SettingsError
from vstream.search.finding import Effort, Finding, FoundSpan
from vstream.search.stretch_blocks import Bounds
from vstream.stream_reader import open_reader
from vstream.times.when import parse_when, stream_range
from vstream.times.zone import zone_of


@dataclass(frozen=True)
class Sought:
    """What is to be so, and where. Times are words: of the stream, as 1:23, or of a clock."""

    streams: Sequence[str]
    statement: str
    from_: str | None
    to: str | None
    zone: str
    effort: Effort


def find_spans(terminal: Terminal, config: VStreamConfig, sought: Sought, *, as_json: bool) -> None:
    """A line for each span as it is found, or one JSON document. Raises VStreamError,
    KVMemoryError.
    """
    now = datetime.now(zone_of(sought.zone))
    for words in (sought.from_, sought.to):
        _moment(words, now)  # told before a model is loaded
    model = load_model(terminal, config)
    with ExitStack() as opened:
        streams = {
            name: opened.enter_context(open_reader(config, model, name))
            for name in dict.fromkeys(sought.streams)
        }
        finding = Finding(
            streams,
            sought.statement,
            within={name: _within(one.memory, sought, now) for name, one in streams.items()},
            effort=sought.effort,
            layers=config.engine.search_layers,
        )
        for span in finding:
            if not as_json:
                terminal.out.print(_line(span, now), markup=False)
        if as_json:
            terminal.document(json.dumps(finding.document(), allow_nan=False))
            return
        for span in finding.spans:
            if not span.is_whole:
                terminal.out.print(_line(span, now), markup=False)
    _say_rest(terminal, finding)


def _line(span: FoundSpan, now: datetime) -> str:
    begin, end = (datetime.fromtimestamp(at, now.tzinfo) for at in (span.from_at, span.to_at))
    by_clock = f"{begin.isoformat(timespec='seconds')} to {end.isoformat(timespec='seconds')}"
    unsure = "" if span.is_whole else ", and perhaps longer"
    times = f"{clock(span.from_s)} to {clock(span.to_s)}"
    return f"{span.stream}  {by_clock}  ({times}{unsure})  {span.probability:.0%}"


def _say_rest(terminal: Terminal, finding: Finding) -> None:
    if not finding.spans:
        terminal.say("not found")
    for name, parts in finding.coverage.items():
        length_s = sum(part.to_s - part.from_s for part in parts)
        for kind, what in (("open", "not looked at"), ("gone", "no longer kept")):
            rest = [part for part in parts if part.kind == kind]
            rest_s = sum(part.to_s - part.from_s for part in rest)
            if rest_s:
                longest = max(rest, key=lambda part: part.to_s - part.from_s)
                terminal.say(
                    f"{name}: {rest_s / length_s:.0%} was {what}, as from {clock(longest.from_s)} "
                    f"to {clock(longest.to_s)}"
                )
    terminal.say(
        f"{finding.judged} blocks were judged in {finding.seconds:.1f} s, {finding.known} before"
    )


def _moment(words: str | None, now: datetime) -> float | datetime | None:
    """Seconds of stream time, or a clock's. Raises QuestionError."""
    if words is None:
        return None
    try:
        return parse_stream_time(words)
    except SettingsError:
        return parse_when(words, now)


def _within(memory: MemoryReader, sought: Sought, now: datetime) -> Bounds:
    begin, end = _moment(sought.from_, now), _moment(sought.to, now)
    begin_at, end_at = (
        one.timestamp() if isinstance(one, datetime) else None for one in (begin, end)
    )
    first_s, last_s = stream_range(memory, begin_at, end_at)
    return (
        first_s if isinstance(begin, datetime) else begin,
        last_s if isinstance(end, datetime) else end,
    )
