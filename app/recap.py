"""`vstream recap`: what came and left in stored streams."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from app.model import load_model
from app.stream_time import clock
from app.stretch import bounds_in, say_rest
from app.terminal import Terminal
from memory import stored_ids
from vstream.config import VStreamConfig
from vstream.errors import QuestionError
from vstream.search.finding import Effort
from vstream.search.recap import Recap, RecapEntry
from vstream.stream_reader import open_reader
from vstream.times.when import parse_when
from vstream.times.zone import zone_of

ALL = "all"


@dataclass(frozen=True)
class Away:
    """Of which streams one wants to know, and since when. Times are those of a clock in `zone`."""

    streams: str
    from_: str | None
    to: str | None
    zone: str
    effort: Effort


def tell(terminal: Terminal, config: VStreamConfig, away: Away, *, as_json: bool) -> None:
    """A line for each entry, in time order, or one JSON document. Raises VStreamError,
    KVMemoryError.
    """
    now = datetime.now(zone := zone_of(away.zone))
    begin, end = parse_when(away.from_, now), parse_when(away.to, now)
    names = stored_ids(config.memory.store) if away.streams == ALL else away.streams.split(",")
    if not names:
        raise QuestionError("no stream is stored there: `vstream ingest` stores one")
    model = load_model(terminal, config)
    with ExitStack() as opened:
        streams = {
            name: opened.enter_context(open_reader(config, model, name))
            for name in dict.fromkeys(name.strip() for name in names)
        }
        recap = Recap(
            streams,
            within={name: bounds_in(one.memory, begin, end) for name, one in streams.items()},
            effort=away.effort,
            layers=config.engine.search_layers,
        )
        for _ in recap:
            pass
        title = recap.title(zone)
    if as_json:
        terminal.document(json.dumps({"title": title, **recap.document()}, allow_nan=False))
        return
    terminal.out.print(title, markup=False)
    for entry in recap.entries:
        terminal.out.print(_line(entry, now), markup=False)
    say_rest(terminal, recap.coverage)
    terminal.say(
        f"{recap.described} runs of blocks were described and {recap.judged} blocks judged in "
        f"{recap.seconds:.1f} s; {recap.dropped} sentences were not confirmed, {recap.unchecked} "
        "not checked"
    )


def _line(entry: RecapEntry, now: datetime) -> str:
    begin, end = (
        datetime.fromtimestamp(at, now.tzinfo).isoformat(" ", "seconds")[:19]
        for at in (entry.from_at, entry.to_at)
    )
    when = f"{begin} to {end[11:] if begin[:10] == end[:10] else end}"
    known = "" if entry.came and entry.left else ", still so" if entry.came else ", so before"
    times = f"{clock(entry.from_s)} to {clock(entry.to_s)}"
    return f"{when}  {entry.stream}  {entry.sentence}{known}  ({times})  {entry.probability:.0%}"
