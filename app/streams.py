"""`vstream streams` and `vstream forget`: what a store remembers, and some of it deleted."""

import json

from app.stream_time import clock
from app.terminal import Terminal, table_of
from memory import StoredStream, open_stored, store_name, stored_streams
from vstream.config import VStreamConfig
from vstream.errors import SettingsError


def list_streams(terminal: Terminal, config: VStreamConfig, *, as_json: bool) -> None:
    """A table, or one JSON list on the last line. A stream that cannot be read is named, with the
    reason, beside the others. Raises KVMemoryError.
    """
    found = stored_streams(config.memory.store)
    for stream in found:
        if stream.error is not None:
            terminal.say(f"{stream.id} cannot be read: {stream.error}")
        if stream.damaged:
            terminal.say(f"{stream.id}: blocks are damaged or missing in {stream.damaged} places")
    if as_json:
        terminal.document(json.dumps([_document(stream) for stream in found]))
    elif found:
        headings = ("stream", "state", "blocks", "from", "to", "MB")
        terminal.out.print(table_of(headings, map(_row, found)))
    else:
        terminal.say(f"{store_name(config.memory.store)} holds no streams")


def forget_range(
    terminal: Terminal, config: VStreamConfig, stream: str, from_s: float, to_s: float
) -> None:
    """Delete and say how much. Raises SettingsError, KVMemoryError."""
    if to_s < from_s:
        raise SettingsError(f"--to {clock(to_s)} is before --from {clock(from_s)}")
    with open_stored(config.memory, stream) as memory:
        has_notes = bool(memory.state)
        gone = memory.forget(from_s, to_s)
    terminal.say(f"{gone} blocks from {clock(from_s)} to {clock(to_s)} are deleted")
    if has_notes:
        terminal.say("and all notes of the stream's memory policy, as descriptions, of any time")


def _row(stream: StoredStream) -> tuple[str, ...]:
    if stream.error is not None:
        return (stream.id, "unreadable", *"----")
    span = clock(stream.from_s), clock(stream.to_s)
    megabytes = sum(stream.bytes_by_tier.values()) / 1e6
    return (stream.id, stream.state, str(stream.blocks), *span, f"{megabytes:.1f}")


def _document(stream: StoredStream) -> dict[str, object]:
    return {
        "id": stream.id,
        "state": stream.state,
        "blocks": stream.blocks,
        "from": stream.from_s,
        "to": stream.to_s,
        "bytes": stream.bytes_by_tier,
        "damaged": stream.damaged,
        "error": stream.error,
    }
