"""Forget a stretch of a stream in what services keep beside it, while no service has it."""

from memory import KVMemory, tier_of
from vstream.service.kept_lines import KEPT
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
    for kind in KEPT:
        if (lines := tier.lines(kind.name, kind.most)) is not None:
            with StreamLines(lines, kind.read) as kept:
                kept.forget(stream_id, from_s, to_s)
