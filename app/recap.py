"""`vstream recap`: print what appeared in stored streams, and what left."""

import json
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime

from app.model import load_model
from app.stream_time import clock
from app.stretch import bounds_in, say_rest
from app.terminal import Terminal, in_seconds
from memory import KVMemoryError, stored_ids, tier_of
from vstream.config import VStreamConfig
from vstream.errors import QuestionError
from vstream.search.finding import Effort
from vstream.search.recap import Recap, RecapEntry
from vstream.search.stretch_blocks import Bounds
from vstream.strange_pictures import strange_stretch
from vstream.stream_reader import StreamReader, open_reader
from vstream.times.when import parse_when
from vstream.times.zone import zone_of

ALL = "all"


@dataclass(frozen=True)
class Away:
    """The streams and times to recap. Times are clock times in `zone`."""

    streams: str
    from_: str | None
    to: str | None
    zone: str
    effort: Effort


def tell(terminal: Terminal, config: VStreamConfig, away: Away, *, as_json: bool) -> None:
    """Print the entries in time order, or one JSON document. Raises VStreamError, KVMemoryError."""
    tier_of(config.memory.store).require_there()
    now = datetime.now(zone := zone_of(away.zone))
    begin, end = parse_when(away.from_, now), parse_when(away.to, now)
    names = stored_ids(config.memory.store) if away.streams == ALL else away.streams.split(",")
    if not names:
        raise QuestionError("the store is empty: `vstream ingest` fills it")
    model = load_model(terminal, config)
    with ExitStack() as opened:
        streams = {
            name: opened.enter_context(open_reader(config, model, name))
            for name in dict.fromkeys(name.strip() for name in names)
        }
        within = {name: bounds_in(one.memory, begin, end) for name, one in streams.items()}
        recap = Recap(
            streams, within=within, effort=away.effort, layers=config.engine.search_layers
        )
        for _ in recap:
            pass
        title = recap.title(zone)
        strange = {
            name: reason
            for name, one in streams.items()
            if (reason := _strange(one, within[name])) is not None
        }
    if as_json:
        told = recap.document()
        for entry in told["entries"]:
            entry["unsure"] = entry["stream"] in strange
        told = {"model": model.name, "title": title, "strange": strange, **in_seconds(told)}
        terminal.document(json.dumps(told, allow_nan=False))
        return
    terminal.out.print(title, markup=False)
    for entry in recap.entries:
        terminal.out.print(_line(entry, now), markup=False)
    for name, reason in strange.items():
        terminal.say(f"{name}: {reason}")
    say_rest(terminal, recap.coverage)
    terminal.say(
        f"described {recap.described} runs of blocks and judged {recap.judged} blocks in "
        f"{recap.seconds:.1f} s; {recap.dropped} sentences not confirmed, {recap.unchecked} not "
        "checked"
    )


def _strange(stream: StreamReader, within: Bounds) -> str | None:
    """Why the recap means nothing, if the model does not know the stream's pictures."""
    from_s, to_s = within
    with stream.model.turn, suppress(KVMemoryError):  # e.g. forgotten meanwhile
        seen = stream.memory.visible(to_s, from_s)
        return strange_stretch(stream.memory, stream.model.family, seen)
    return None


def _line(entry: RecapEntry, now: datetime) -> str:
    begin, end = (
        datetime.fromtimestamp(at, now.tzinfo).isoformat(" ", "seconds")[:19]
        for at in (entry.from_at, entry.to_at)
    )
    when = f"{begin} to {end[11:] if begin[:10] == end[:10] else end}"
    known = "" if entry.came and entry.left else ", still" if entry.came else ", already before"
    times = f"{clock(entry.from_s)} to {clock(entry.to_s)}"
    return f"{when}  {entry.stream}  {entry.sentence}{known}  ({times})  {entry.probability:.0%}"
