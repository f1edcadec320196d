"""What services keep beside a stream that none has now: what is about a stretch of it goes."""

from memory import KVMemory, tier_of
from vstream.service.event import MOST, Event
from vstream.service.past_firing import left_of
from vstream.service.stream_lines import StreamLines
from vstream.service.stream_notes import NOTE, service_note


def forget_firings(memory: KVMemory, stream_id: str, from_s: float, to_s: float) -> None:
    """Those in the note of a stream. Raises StoreError."""
    noted = service_note(memory.note)
    if firings := noted.get("firings"):
        left = {**noted, "firings": left_of(firings, stream_id, from_s, to_s)}
        memory.set_note({**memory.note, NOTE: left})


def forget_events(store: str, stream_id: str, from_s: float, to_s: float) -> None:
    """Those beside the streams of a store. Raises StoreError, also while a service has them."""
    lines = tier_of(store).lines("events", MOST)
    if lines is not None:
        with StreamLines(lines, Event.of) as events:
            events.forget(stream_id, from_s, to_s)
