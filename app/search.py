"""`vstream search`: find the moments of stored streams that best match some words."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.table import Table

from app.model import load_model
from app.stream_time import clock
from app.terminal import Terminal, table_of
from memory import (
    FingerprintMismatchError,
    KVMemoryError,
    StoreError,
    follow_memory,
    store_name,
    stored_ids,
    tier_of,
)
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError
from vstream.search.moment import Moment
from vstream.search.moment_search import MomentSearch


@dataclass(frozen=True)
class Wanted:
    """What to look for, and where; empty `streams` means every stream in the store."""

    words: str
    streams: tuple[str, ...]
    from_s: float | None
    to_s: float | None
    top: int


def search_streams(
    terminal: Terminal, config: VStreamConfig, wanted: Wanted, *, as_json: bool
) -> None:
    """Print a table, or one JSON document on the last line. Skips, with a message, streams of
    another model, and unreadable ones unless they were asked for by id. Raises VStreamError,
    KVMemoryError.
    """
    if not wanted.words.strip():
        raise QuestionError("the search is empty: write what to look for, e.g. 'a red car'")
    if wanted.from_s is not None and wanted.to_s is not None and wanted.to_s < wanted.from_s:
        raise SettingsError(f"--to {clock(wanted.to_s)} is before --from {clock(wanted.from_s)}")
    streams = _streams(config.memory.store, wanted.streams)
    model = load_model(terminal, config)
    search = MomentSearch(model, config.engine.search_layers)
    skipped: dict[str, str] = {}
    with ExitStack() as opened:
        for stream in streams:
            try:
                memory = follow_memory(config.memory, stream, model.decoder.device)
                opened.enter_context(memory)
                search.add(stream, memory)
            except KVMemoryError as error:
                if wanted.streams and not isinstance(error, FingerprintMismatchError):
                    raise
                skipped[stream] = str(error)
                terminal.say(f"skipped {stream}: {error}")
        if len(skipped) == len(streams):
            raise StoreError(
                f"store {store_name(config.memory.store)}: none of the streams can be searched"
            )
        found = search.search(wanted.words, top=wanted.top, from_s=wanted.from_s, to_s=wanted.to_s)
    if as_json:
        moments = [_document(one) for one in found]
        told = {"model": model.name, "query": wanted.words, "moments": moments, "skipped": skipped}
        terminal.document(json.dumps(told, allow_nan=False))
    elif found:
        terminal.out.print(_table(found))
        reasons = [one.strange for one in found if one.strange is not None]
        if reasons:
            terminal.say(f"unknown to the model: {len(reasons)} of {len(found)}. {reasons[0]}")
    else:
        terminal.say("nothing is kept of that time")


def _document(found: Moment) -> dict[str, object]:
    told = {**vars(found), "score": round(found.score, 6), "unsure": found.strange is not None}
    del told["thumbnail"]
    return told


def _table(found: Sequence[Moment]) -> Table:
    """A table of moments, with a text column if any has a text."""
    headings = ["stream", "from", "to", "score"]
    rows = [[one.stream, clock(one.from_s), clock(one.to_s), f"{one.score:.3f}"] for one in found]
    if any(one.text for one in found):
        headings.append("text")
        rows = [[*row, one.text] for row, one in zip(rows, found, strict=True)]
    return table_of(headings, rows)


def _streams(store: str, named: Sequence[str]) -> list[str]:
    """The ids to search, without duplicates. Raises SettingsError, StoreError."""
    if not tier_of(store).lasts:
        raise SettingsError(
            f"nothing to search: {store_name(store)} is gone once its process ends; name a store "
            "that lasts, e.g. --store file:///DIR or redis://HOST"
        )
    tier_of(store).require_there()
    streams = list(dict.fromkeys(named)) or stored_ids(store)
    if not streams:
        raise StoreError(f"{store_name(store)} holds no streams")
    return streams
