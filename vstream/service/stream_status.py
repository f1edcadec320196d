"""StreamStatus: how one stream of the service is doing now, and what is wrong with it."""

import time
from dataclasses import dataclass
from enum import StrEnum

from encoders import Frame
from vstream.sources.status import SourceCounts

STORE_AWAY = "STORE_AWAY"
"""The code of a problem: the store takes no blocks for now."""


class StreamState(StrEnum):
    """As SourceState, and what only a keeper knows."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    PAUSED = "paused"
    ENDED = "ended"
    ERROR = "error"


@dataclass(frozen=True)
class StreamProblem:
    """What is wrong; `code` is that of a SourceError, STORE_AWAY, STORE_FAILED or INTERNAL."""

    code: str
    message: str
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class StreamStatus:
    """How one stream is doing now. Times are seconds since the epoch."""

    state: StreamState
    problem: StreamProblem | None
    counts: SourceCounts
    frames_sampled: int
    frames_encoded: int
    frames_duplicate: int
    last_frame_at: float | None
    """When the newest frame was captured."""
    last_frame_age_s: float | None
    stream_s: float
    restarts: int


def age_s(newest: Frame | None, source_age_s: float | None) -> float | None:
    """Of the newest frame: since its arrival, or with no source open since its capture."""
    if source_age_s is not None or newest is None:
        return source_age_s
    return max(0.0, time.time() - newest.captured_at)


def sum_of(one: SourceCounts, other: SourceCounts) -> SourceCounts:
    """Of two sources, one after the other."""
    names = vars(one)
    return SourceCounts(**{name: getattr(one, name) + getattr(other, name) for name in names})
