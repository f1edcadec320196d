"""TimelineView: fetch the history that a visitor looks at, when it has changed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.client import ServiceClient
from app.page.visitors import Exchange
from app.server.documents import AlertDocument, Timeline
from memory.locks import Rank, ranked_lock

PARTS = 240
"""Most parts to draw a history in; so a change shows once a 240th of its span has passed."""
_SOONEST_S = 1.0


@dataclass(frozen=True)
class Stretch:
    """The range of a history that is shown; `to_s` None: its end follows the present."""

    parts: int = PARTS
    from_s: float | None = None
    to_s: float | None = None
    span_s: float | None = None

    @property
    def key(self) -> tuple[float | None, ...]:
        """Equal for the same range a moment later."""
        begins = self.from_s if self.to_s is not None else None
        return (self.parts, begins, self.to_s, self.span_s)


class TimelineView:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._lock = ranked_lock(Rank.PAGE_TIMELINE)
        self._shown: tuple[Any, ...] | None = None
        self._fetched_at = 0.0
        self._lasts_s = 0.0
        self._marks: dict[str, Any] | None = None

    def history(self, name: str, stream_id: str, stretch: Stretch) -> dict[str, Any] | None:
        """The history to draw; None while the drawing is still good enough, i.e. it cannot have
        changed by the width of a part. Raises ServiceError.
        """
        wanted = (name, stream_id, *stretch.key)
        with self._lock:
            now = time.monotonic()
            if wanted == self._shown and now < self._fetched_at + self._lasts_s:
                return None
            told = self._client.timeline(stream_id, stretch.parts, stretch.from_s, stretch.to_s)
            stream_s = self._client.stream(stream_id).stream_s
            self._shown, self._fetched_at = wanted, now
            span_s = stretch.span_s or told.kept_to_s - told.kept_from_s
            self._lasts_s = max(_SOONEST_S, span_s / PARTS)
        return history_document(name, told, stream_s)

    def marks(
        self, exchanges: Sequence[Exchange], name: str, stream_id: str
    ) -> dict[str, Any] | None:
        """The moments that answers retrieved and the firings of alerts; None if unchanged."""
        told = marks_document(exchanges, self._client.alerts(), stream_id)
        marks = {"stream": name, **told}
        with self._lock:
            if marks == self._marks:
                return None
            self._marks = marks
        return marks

    def forget(self) -> bool:
        """Forget what is shown; return whether anything was."""
        with self._lock:
            was_shown = self._shown is not None or self._marks is not None
            self._shown = self._marks = None
        return was_shown


def history_document(name: str, told: Timeline, stream_s: float) -> dict[str, Any]:
    """Describe a history for timeline.js; a part is [from_s, to_s, change, change_s]."""
    parts = [
        [round(at, 3) for at in (part.from_s, part.to_s, part.change, part.change_s)]
        for part in told.parts
    ]
    return {
        "stream": name,
        "kept_from_s": told.kept_from_s,
        "kept_to_s": told.kept_to_s,
        "now_s": max(told.kept_to_s, stream_s),
        "part_s": told.part_s,
        "parts": parts,
    }


def marks_document(
    exchanges: Sequence[Exchange], alerts: Sequence[AlertDocument], stream_id: str
) -> dict[str, Any]:
    """Answers, newest first, and firings; a moment is [end_s, score]; `number` sets a colour."""
    answers = [
        {
            "number": number,
            "question": one.question,
            "moments": [[cited.end_s, round(cited.score, 3)] for cited in one.citations],
        }
        for number, one in enumerate(exchanges)
        if one.stream_id == stream_id and one.citations
    ]
    firings = [
        {"at_s": one.at_s, "condition": alert.condition, "probability": one.probability}
        for alert in alerts
        for one in alert.firings
        if one.stream_id == stream_id
    ]
    return {"answers": answers[::-1], "firings": firings}
