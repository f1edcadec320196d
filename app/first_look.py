"""Check a question and its source before a model is loaded; needs no torch."""

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
class QuestionStream:
    """The stream a question is about. `found` is the stored stream; None: ingest the source."""

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
) -> QuestionStream:
    """Find what the question is about. Raises VStreamError, KVMemoryError."""
    require_question(text, from_s, at_s, zone)
    asked = _asked(config, source)
    if asked.found is not None:
        return asked
    if dialogue is not None:
        raise SettingsError("--dialogue needs a stored stream")
    if parse_address(source).kind is not SourceKind.FILE and at_s is not None:
        raise SettingsError("--at needs a file or a stored stream: a live source has only now")
    length_s = reach_source(source, config.source)
    latest_s = max(at_s or 0.0, from_s or 0.0)
    if length_s is not None and latest_s > length_s:
        raise QuestionError(
            f"nothing at {clock(latest_s)}: {parse_address(source).name} ends at {clock(length_s)}"
        )
    return asked


def require_question(text: str, from_s: float | None, at_s: float | None, zone: str | None) -> None:
    """Raises QuestionError or SettingsError for a question that makes no sense."""
    if not text.strip():
        raise QuestionError("the question is empty")
    if from_s is not None and at_s is not None and at_s < from_s:
        raise SettingsError(f"--at {clock(at_s)} is before --from {clock(from_s)}")
    if zone is not None:
        zone_of(zone)


def require_seen(
    config: VStreamConfig, from_s: float | None, at_s: float | None, newest_s: float
) -> None:
    """Raises QuestionError for a time more than `max_gap_s` after the newest block."""
    asked_s = max(at_s or 0.0, from_s or 0.0)
    if asked_s > newest_s + config.source.max_gap_s:
        raise QuestionError(
            f"nothing is kept of {clock(asked_s)}: the stream's newest block is at "
            f"{clock(newest_s)}"
        )


def look_before_playing(terminal: Terminal, config: VStreamConfig, source: str) -> None:
    """Like `look_at_source`. Raises QuestionError for a stored stream, which does not play."""
    if _asked(config, source).found is not None:
        raise QuestionError(f"{source} is a stored stream, which does not play: add a question")
    look_at_source(terminal, config, source)


def look_at_source(terminal: Terminal, config: VStreamConfig, source: str) -> None:
    """Report a problem with a live source, which will be retried. Raises SourceError for a file."""
    try:
        reach_source(source, config.source)
    except SourceError as error:
        if parse_address(source).kind is SourceKind.FILE:
            raise
        terminal.say(f"{error}; retrying")


def _asked(config: VStreamConfig, source: str) -> QuestionStream:
    """Decide whether to ask about a stored stream: one named by its id, or one that another process
    is ingesting right now. Raises StoreError for a name that is neither a file nor a stream,
    SourceError.
    """
    store = config.memory.store
    tier = tier_of(store)
    if _STREAM_ID.fullmatch(source) and not Path(source).exists():
        found = find_stream(store, source)
        if found is None and tier.lasts and "." not in source:
            tier.require_there()
            raise StoreError(
                f"{source}: neither a file nor a stream in {store_name(store)}; "
                "`vstream streams` lists the streams"
            )
        if found is not None:
            return QuestionStream(source, found)
    name = stream_id_of(source)
    found = find_stream(store, name)
    return QuestionStream(name, found if found is not None and found.state == "live" else None)
