"""Forget a stretch of a stream in what services keep beside it, while no service has it."""

from memory import KVMemory, tier_of
from vstream.service.event import MOST as MOST_EVENTS
from vstream.service.event import Event
from vstream.service.owed_webhook import MOST as MOST_WEBHOOKS
from vstream.service.owed_webhook import OwedWebhook
from vstream.service.past_firing import left_of
from vstream.service.stream_lines import StreamLines
from vstream.service.stream_notes import NOTE, service_note


def forget_firings(memory: KVMemory, stream_id: str, from_s: float, to_s: float) -> None:
    """Forget firings in the note of a stream. Raises StoreError."""
    noted = service_note(memory.note)
    if firings := noted.get("firings"):
        left = {**noted, "firings": left_of(firings, stream_id, from_s, to_s)}
        memory.set_note({**memory.note, NOTE: left})


def forget_lines(store: str, stream_id: str, from_s: float, to_s: float) -> None:
    """Forget events and owed webhooks beside the streams of a store. Raises StoreError, also while
    a service has them open.
    """
    tier = tier_of(store)
    if (lines := tier.lines("events", MOST_EVENTS)) is not None:
        with StreamLines(lines, Event.of) as events:
            events.forget(stream_id, from_s, to_s)
    if (lines := tier.lines("webhooks", MOST_WEBHOOKS)) is not None:
        with StreamLines(lines, OwedWebhook.of) as webhooks:
            webhooks.forget(stream_id, from_s, to_s)
