"""`vstream forget`: delete part of a stream's memory."""

from contextlib import suppress

from app.stream_time import clock
from app.terminal import Terminal
from memory import (
    KVMemoryError,
    MemoryPolicy,
    ModelShape,
    StoreError,
    find_stream,
    open_stored,
    policy_named,
    written_under,
)
from vstream.config import VStreamConfig
from vstream.sentences import sentence_vectors
from vstream.service.forgetting import forget_firings, forget_lines


def forget_range(
    terminal: Terminal, config: VStreamConfig, stream: str, from_s: float, to_s: float
) -> None:
    """Delete a range and report how much was deleted. Raises KVMemoryError."""
    policy = _written_under(config.memory.store, stream)
    with open_stored(config.memory, stream, policy) as memory:
        noted = memory.state
        gone = memory.forget(from_s, to_s)
        left = memory.state
        forget_firings(memory, stream, from_s, to_s)
    try:
        forget_lines(config.memory.store, stream, from_s, to_s)
    except StoreError as error:
        terminal.say(f"events of that time may remain: {error}")
    terminal.say(f"deleted {gone} blocks from {clock(from_s)} to {clock(to_s)}")
    if noted and not left:
        terminal.say("and all notes (e.g. descriptions) of the stream's memory policy, of any time")
    elif noted != left:
        terminal.say("and the notes (e.g. descriptions) of its memory policy from that time")


def _written_under(store: str, stream: str) -> MemoryPolicy | None:
    """Only to say which notes go: it knows no model. None: it is not here, nor the stream."""
    if (found := find_stream(store, stream)) is not None:
        with suppress(KVMemoryError):
            name, settings = written_under(found.provenance.fingerprint)
            return policy_named(name, ModelShape(sentence_vectors=sentence_vectors), settings)
    return None
