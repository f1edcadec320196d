"""`vstream streams` and `vstream forget`: what a store remembers, and some of it deleted."""

import json
from contextlib import suppress

from app.stream_time import clock
from app.terminal import Terminal, table_of
from memory import (
    KVMemoryError,
    MemoryPolicy,
    ModelShape,
    StoredStream,
    StoreError,
    find_stream,
    open_stored,
    policy_named,
    store_name,
    stored_streams,
    written_under,
)
from vstream.config import VStreamConfig
from vstream.errors import SettingsError
from vstream.sentences import sentence_vectors
from vstream.service.forgetting import forget_events, forget_firings


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
    policy = _written_under(config.memory.store, stream)
    with open_stored(config.memory, stream, policy) as memory:
        noted = memory.state
        gone = memory.forget(from_s, to_s)
        left = memory.state
        forget_firings(memory, stream, from_s, to_s)
    try:
        forget_events(config.memory.store, stream, from_s, to_s)
    except StoreError as error:
        terminal.say(f"events of that time may be left: {error}")
    terminal.say(f"{gone} blocks from {clock(from_s)} to {clock(to_s)} are deleted")
    if noted and not left:
        terminal.say("and all notes of the stream's memory policy, as descriptions, of any time")
    elif noted != left:
        terminal.say("and what the stream's memory policy noted of that time, as descriptions")


def _written_under(store: str, stream: str) -> MemoryPolicy | None:
    """The policy of a stream, only to say which notes go: it knows no model. None: it is not here,
    or there is no such stream.
    """
    if (found := find_stream(store, stream)) is not None:
        with suppress(KVMemoryError):
            name, settings = written_under(found.provenance.fingerprint)
            return policy_named(name, ModelShape(sentence_vectors=sentence_vectors), settings)
    return None


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
