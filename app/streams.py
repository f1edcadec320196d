"""`vstream streams`: what a store remembers, stream by stream."""

import json

from rich.table import Table

from app.stream_time import clock
from app.terminal import Terminal
from memory import StoredStream, store_name, stored_streams
from vstream.config import VStreamConfig


def list_streams(terminal: Terminal, config: VStreamConfig, *, as_json: bool) -> None:
    """A table, or one JSON list on the last line.

    A stream that cannot be read is named, with the reason, beside the others. Raises KVMemoryError.
    """
    found = stored_streams(config.memory.store)
    for stream in found:
        if stream.error is not None:
            terminal.say(f"{stream.id} cannot be read: {stream.error}")
        if stream.damaged:
            terminal.say(f"{stream.id}: blocks are damaged or missing in {stream.damaged} places")
    if as_json:
        terminal.document(json.dumps([_document(stream) for stream in found]))
        return
    if not found:
        terminal.say(f"{store_name(config.memory.store)} holds no streams")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("stream", "state", "blocks", "from", "to", "MB"):
        table.add_column(heading)
    for stream in found:
        if stream.error is not None:
            table.add_row(stream.id, "unreadable", *"----")
            continue
        megabytes = sum(stream.bytes_by_tier.values()) / 1e6
        span = clock(stream.from_s), clock(stream.to_s)
        table.add_row(stream.id, stream.state, str(stream.blocks), *span, f"{megabytes:.1f}")
    terminal.out.print(table)


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
