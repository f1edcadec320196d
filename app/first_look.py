"""What can be told of a question and its source before a model is loaded; it needs no torch."""

import re
from dataclasses import dataclass
from pathlib import Path

from app.stream_time import clock
from app.terminal import Terminal
from memory import FoundStream, StoreError, find_stream, store_name, tier_of
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError, SourceError
from vstream.sources.address import SourceKind, parse_address, stream_id_of
from vstream.sources.reach import reach_source
from vstream.times.zone import zone_of

_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Asked:
    """Which stream is asked about. `found`: as the store has it; None: the source is ingested."""

    name: str
    found: FoundStream | None


def look_at_question(
    config: VStreamConfig,
    source: str,
    text: str,
    at_s: float | None,
    from_s: float | None,
    zone: str | None,
    dialogue: str | None,
) -> Asked:
    """Raises VStreamError or KVMemoryError for whatever stands in the way."""
    require_question(text, from_s, at_s, zone)
    asked = _asked(config, source)
    if asked.found is not None:
        return asked
    if dialogue is not None:
        raise SettingsError("--dialogue needs a stream that the store holds")
    if parse_address(source).kind is not SourceKind.FILE and at_s is not None:
        raise SettingsError("--at needs a file: a live source is asked about now")
    length_s = reach_source(source, config.source)
    latest_s = max(at_s or 0.0, from_s or 0.0)
    if length_s is not None and latest_s > length_s:
        raise QuestionError(
            f"nothing is kept of {clock(latest_s)}: {parse_address(source).name} ends at "
            f"{clock(length_s)}"
        )
    return asked


def require_question(text: str, from_s: float | None, at_s: float | None, zone: str | None) -> None:
    """Raises QuestionError, SettingsError for one that makes no sense, whatever it is about."""
    if not text.strip():
        raise QuestionError("the question is empty: write what you want to know")
    if from_s is not None and at_s is not None and at_s < from_s:
        raise SettingsError(f"--at {clock(at_s)} is before --from {clock(from_s)}")
    if zone is not None:
        zone_of(zone)


def require_seen(
    config: VStreamConfig, from_s: float | None, at_s: float | None, newest_s: float
) -> None:
    """Raises QuestionError for a time of which nothing is kept, not even with `max_gap_s`."""
    asked_s = max(at_s or 0.0, from_s or 0.0)
    if asked_s > newest_s + config.source.max_gap_s:
        raise QuestionError(
            f"nothing is kept of {clock(asked_s)}: the stream's newest block is of "
            f"{clock(newest_s)}"
        )


def look_before_playing(terminal: Terminal, config: VStreamConfig, source: str) -> None:
    """As `look_at_source`. Raises QuestionError for a stream of the store, which does not play."""
    if _asked(config, source).found is not None:
        raise QuestionError(f"{source} is stored and does not play: write a question")
    look_at_source(terminal, config, source)


def look_at_source(terminal: Terminal, config: VStreamConfig, source: str) -> None:
    """What is wrong is only said, unless it is a file: it will be tried on. Raises SourceError."""
    try:
        reach_source(source, config.source)
    except SourceError as error:
        if parse_address(source).kind is SourceKind.FILE:
            raise
        terminal.say(f"{error}; it will be tried again")


def _asked(config: VStreamConfig, source: str) -> Asked:
    """The stream if it is to be asked about as the store has it: one named by its id, or one that
    another process is just ingesting. Raises StoreError for a name that is neither a file nor a
    stream, SourceError.
    """
    store = config.memory.store
    tier = tier_of(store)
    if _STREAM_ID.fullmatch(source) and not Path(source).exists():
        found = find_stream(store, source)
        if found is None and tier.lasts and "." not in source:
            tier.require_there()
            raise StoreError(
                f"{source}: neither a file nor a stream that {store_name(store)} holds; "
                "`vstream streams` lists those"
            )
        if found is not None:
            return Asked(source, found)
    name = stream_id_of(source)
    found = find_stream(store, name)
    return Asked(name, found if found is not None and found.state == "live" else None)
