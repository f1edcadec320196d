"""`vstream find`: find the spans in which a statement was true, by the model's own yes or no."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from app.model import load_model
from app.stream_time import clock
from app.stretch import bounds_in, moment_of, say_rest
from app.terminal import Terminal, in_seconds
from memory import tier_of
from vstream.config import VStreamConfig
from vstream.search.finding import Effort, Finding
from vstream.search.hunter import FoundSpan
from vstream.stream_reader import open_reader
from vstream.times.zone import zone_of


@dataclass(frozen=True)
class Sought:
    """The statement, and where to look. Times are text: stream time (1:23) or clock time."""

    streams: Sequence[str]
    statement: str
    from_: str | None
    to: str | None
    zone: str
    effort: Effort


def find_spans(terminal: Terminal, config: VStreamConfig, sought: Sought, *, as_json: bool) -> None:
    """Print spans as they are found, or one JSON document. Raises VStreamError, KVMemoryError."""
    tier_of(config.memory.store).require_there()
    now = datetime.now(zone_of(sought.zone))
    begin, end = moment_of(sought.from_, now), moment_of(sought.to, now)
    model = load_model(terminal, config)
    with ExitStack() as opened:
        streams = {
            name: opened.enter_context(open_reader(config, model, name))
            for name in dict.fromkeys(sought.streams)
        }
        finding = Finding(
            streams,
            sought.statement,
            within={name: bounds_in(one.memory, begin, end) for name, one in streams.items()},
            effort=sought.effort,
            layers=config.engine.search_layers,
        )
        for span in finding:
            if not as_json:
                terminal.out.print(_line(span, now), markup=False)
        if as_json:
            document = finding.document()
            for span in document["spans"]:
                span["unsure"] = span["stream"] in finding.strange
            document = {"model": model.name, **in_seconds(document)}
            terminal.document(json.dumps(document, allow_nan=False))
            return
        for span in finding.spans:
            if not span.is_whole:
                terminal.out.print(_line(span, now), markup=False)
    _say_rest(terminal, finding)


def _line(span: FoundSpan, now: datetime) -> str:
    begin, end = (datetime.fromtimestamp(at, now.tzinfo) for at in (span.from_at, span.to_at))
    by_clock = f"{begin.isoformat(timespec='seconds')} to {end.isoformat(timespec='seconds')}"
    unsure = "" if span.is_whole else ", perhaps longer"
    times = f"{clock(span.from_s)} to {clock(span.to_s)}"
    return f"{span.stream}  {by_clock}  ({times}{unsure})  {span.probability:.0%}"


def _say_rest(terminal: Terminal, finding: Finding) -> None:
    if not finding.spans:
        terminal.say("not found")
    for name, reason in finding.strange.items():
        terminal.say(f"{name}: {reason}")
    say_rest(terminal, finding.coverage)
    terminal.say(
        f"judged {finding.judged} blocks in {finding.seconds:.1f} s ({finding.known} known before)"
    )
