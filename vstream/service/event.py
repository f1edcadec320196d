"""Event: one thing that happened to a stream, and how it is written on a line."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

MOST = 4096
"""How many events are kept, the newest ones."""


class EventKind(StrEnum):
    STREAM_CREATED = "stream.created"
    STREAM_STATE = "stream.state"
    STREAM_DELETED = "stream.deleted"
    ALERT_FIRED = "alert.fired"
    ALERT_DESCRIBED = "alert.described"
    """What the model says about a firing; the same fields once more."""
    ALERT_ENDED = "alert.ended"
    RECAP_MADE = "recap.made"
    ANSWER_DONE = "answer.done"
    RESPONSE_DONE = "response.done"
    MEMORY_FORGOTTEN = "memory.forgotten"
    GAP = "gap"
    """Not published but made for one reader: it missed `data["missed"]` events, None if unknown."""


@dataclass(frozen=True)
class Event:
    """One thing that happened, to one stream or to none in particular."""

    id: int
    kind: EventKind
    stream_id: str | None
    at: float
    """Seconds since the epoch."""
    data: dict[str, Any]
    owner: str | None = None
    """Whose business alone it is; None: that of all who may see the stream."""
    is_forgotten: bool = False
    """It keeps its place, but nobody sees it."""

    @property
    def oldest_s(self) -> float | None:
        """The moment of the stream that it is about; None if there is none."""
        found: float | None = self.data.get("at_s")
        return found

    def without(self, stream_id: str, from_s: float, to_s: float) -> "Event | None":
        """Return what is left of it once [from_s, to_s] of that stream is forgotten: None if it is
        about a moment of that; if it is about a later one, all but a sentence about such a moment.
        """
        at_s = self.oldest_s
        if self.stream_id != stream_id or at_s is None or at_s < from_s:
            return self
        if at_s <= to_s:
            return None
        if self.data.get("sentence") is not None and self.data["from_s"] <= to_s:
            return replace(self, data={**self.data, "sentence": None})
        return self

    @property
    def line(self) -> str:
        """JSON, as `of` reads it."""
        head = {"id": self.id, "kind": self.kind, "stream_id": self.stream_id, "at": self.at}
        whose = {} if self.owner is None else {"owner": self.owner}
        return json.dumps({**head, "data": self.data, **whose})

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Event":
        """Read an event. Raises KeyError, TypeError, ValueError for what was no event's line."""
        data, at = dict(line["data"]), float(line["at"])
        kind, owner = EventKind(line["kind"]), line.get("owner")
        return cls(int(line["id"]), kind, line["stream_id"], at, data, owner)
