"""SourceStatus: how a source is doing at this moment, with every lost frame counted."""

from dataclasses import dataclass
from enum import StrEnum

from vstream.errors import SourceError


class SourceState(StrEnum):
    """Where a source is between opening and end."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    ERROR = "error"


@dataclass
class SourceCounts:
    """Running totals of one source, which hands out copies."""

    frames_received: int = 0
    """Pictures that came whole: decoded, or pushed by a client."""
    frames_not_wanted: int = 0
    """Received, but outside the sampling rate: never converted to RGB."""
    frames_skipped: int = 0
    """Passed over undecoded, because the key frames around them were enough."""
    frames_corrupt: int = 0
    """Packets that could not be decoded, and damaged pictures."""
    frames_refused: int = 0
    """Pushed by a client with an impossible time."""
    frames_stale: int = 0
    """Dropped for a newer one, because the reader of a live source was slow."""
    frames_delivered: int = 0
    reconnects: int = 0


def sum_of(one: SourceCounts, other: SourceCounts) -> SourceCounts:
    """Add up the counts of two sources, one after the other."""
    names = vars(one)
    return SourceCounts(**{name: getattr(one, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class SourceStatus:
    """`last_frame_age_s` is None before the first frame; `last_error` is None while frames come."""

    state: SourceState
    counts: SourceCounts
    last_error: SourceError | None = None
    last_frame_age_s: float | None = None
