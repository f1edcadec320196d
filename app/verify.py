"""`vstream verify`: read everything in a store and report what is damaged; needs no torch."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from app.terminal import Terminal
from memory import (
    KVMemoryError,
    StreamReport,
    repair_stored,
    store_name,
    tier_of,
    verify_stored,
)
from vstream.config import VStreamConfig
from vstream.service.kept_lines import damaged_lines, drop_damaged_lines


def verify_store(terminal: Terminal, config: VStreamConfig, *, repair: bool, as_json: bool) -> bool:
    """Print a line for each stream and each fault, or one JSON document; return whether everything
    is sound, after the repair if there was one. Raises KVMemoryError.
    """
    store = config.memory.store
    tier_of(store).require_there()

    def say(text: str) -> None:
        if not as_json:
            terminal.out.print(text, markup=False)

    streams, is_sound = [], True
    for report in verify_stored(store):
        _say_report(say, report)
        after = report
        if repair and report.faults:
            after = _repaired(terminal, store, report)
        is_sound &= not after.faults
        streams.append({**_document(report), "after_repair": None})
        if after is not report:
            _say_report(say, after, "after the repair, ")
            streams[-1]["after_repair"] = _document(after)
    lines = damaged_lines(store)
    for line in lines:
        say(line)
    if lines:
        is_sound &= repair and _dropped(terminal, store)
    if as_json:
        terminal.document(json.dumps({"sound": is_sound, "streams": streams, "lines": lines}))
    elif not streams:
        terminal.say(f"{store_name(store)} holds no streams")
    return is_sound


def _repaired(terminal: Terminal, store: str, report: StreamReport) -> StreamReport:
    """Return what is found afterwards; the same report if it cannot be repaired."""
    try:
        return repair_stored(store, report.id)
    except KVMemoryError as error:
        terminal.say(f"{report.id} was not repaired: {error}")
        return report


def _dropped(terminal: Terminal, store: str) -> bool:
    """Drop the lines that cannot be read; return whether that worked."""
    try:
        drop_damaged_lines(store)
    except KVMemoryError as error:
        terminal.say(f"these lines were not dropped: {error}")
        return False
    terminal.say("these lines were dropped")
    return True


def _say_report(say: Callable[[str], None], report: StreamReport, when: str = "") -> None:
    told = [_counted(report.blocks, "block")]
    if report.faults:
        told += [f"{report.lost} lost", _counted(len(report.faults), "fault")]
    else:
        told += ["sound"]
    told += ["being written"] if report.is_live else []
    aside = f"; damaged files were moved to {report.set_aside}" if report.set_aside else ""
    say(f"{report.id}: {when}{', '.join(told)}{aside}")
    for fault in report.faults:
        say(f"  {fault}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _document(report: StreamReport) -> dict[str, Any]:
    return {
        "id": report.id,
        "state": "live" if report.is_live else "stored",
        "blocks": report.blocks,
        "lost": report.lost,
        "faults": [asdict(fault) for fault in report.faults],
        "set_aside": report.set_aside,
    }
