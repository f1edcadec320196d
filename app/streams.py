"""`vstream streams`: list the streams in a store; needs no torch."""

import json

from app.stream_time import clock
from app.terminal import Terminal, table_of
from memory import StoredStream, store_name, stored_streams, tier_of
from vstream.config import VStreamConfig


def list_streams(terminal: Terminal, config: VStreamConfig, *, as_json: bool) -> None:
    """Print a table, or one JSON list on the last line. An unreadable stream is listed with the
    reason. Raises KVMemoryError.
    """
    tier_of(config.memory.store).require_there()
    found = stored_streams(config.memory.store)
    for stream in found:
        if stream.error is not None:
            terminal.say(f"{stream.id} cannot be read: {stream.error}")
        if stream.damaged:
            places = f"{stream.damaged} place{'s' if stream.damaged > 1 else ''}"
            where = f"blocks are damaged or missing in {places}"
            terminal.say(f"{stream.id}: {where}; `vstream verify` says where")
    if as_json:
        terminal.document(json.dumps([_document(stream) for stream in found]))
    elif found:
        headings = ("stream", "state", "blocks", "from", "to", "MB")
        terminal.out.print(table_of(headings, map(_row, found)))
    else:
        terminal.say(f"{store_name(config.memory.store)} holds no streams")


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
