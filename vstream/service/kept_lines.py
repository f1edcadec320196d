"""The lines that services keep beside the streams of a store, and those that cannot be read."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from memory import store_name, tier_of
from vstream.service.event import MOST as MOST_EVENTS
from vstream.service.event import Event
from vstream.service.owed_webhook import MOST as MOST_WEBHOOKS
from vstream.service.owed_webhook import OwedWebhook
from vstream.service.stream_lines import OfMoments


class KeptLines(NamedTuple):
    """Lines of one kind; see `Tier.lines`."""

    name: str
    most: int
    read: Callable[[Mapping[str, Any]], OfMoments]
    """Turn a parsed line into its content. Raises KeyError, TypeError, ValueError."""


KEPT = (
    KeptLines("events", MOST_EVENTS, Event.of),
    KeptLines("webhooks", MOST_WEBHOOKS, OwedWebhook.of),
)


def damaged_lines(store: str) -> list[str]:
    """Name the lines that cannot be read, also while a service writes. Raises StoreError."""
    tier = tier_of(store)
    return [
        f"{store_name(store)}: {kind.name}, line {number} cannot be read: {line!a}"
        for kind in KEPT
        for number, line in enumerate(tier.kept_lines(kind.name, kind.most), 1)
        if not _is_sound(kind, line)
    ]


def drop_damaged_lines(store: str) -> None:
    """Drop the lines that cannot be read, as forgetting does: nobody could say what they are about.
    Raises StoreError, also while a service has them open.
    """
    tier = tier_of(store)
    for kind in KEPT:
        if (lines := tier.lines(kind.name, kind.most)) is not None:
            with lines:
                lines.rewrite(partial(_left, kind))


def _left(kind: KeptLines, line: str) -> str | None:
    return line if _is_sound(kind, line) else None


def _is_sound(kind: KeptLines, line: str) -> bool:
    try:
        kind.read(json.loads(line))
    except (KeyError, TypeError, ValueError):
        return False
    return line.isascii()  # as all of them are written
