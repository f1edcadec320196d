"""StreamStatus: how one stream of the service is doing now, and what is wrong with it."""

import time
from dataclasses import dataclass
from enum import StrEnum

from encoders import Frame
from vstream.service.keeper_state import KeeperState
from vstream.sources.status import SourceCounts, SourceStatus

STORE_AWAY = "STORE_AWAY"
"""The code of a problem: the store takes no blocks for now."""


class StreamState(StrEnum):
    """Like SourceState, with what only a keeper knows."""

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


def state_of(
    keeping: KeeperState, source: SourceStatus | None, failure: tuple[str, str] | None
) -> StreamState:
    """Return the state to report, from a keeper, its source (None if none is open) and how the last
    one ended. An ended source's frames may still be on their way to the memory: the keeper ends it.
    """
    if keeping is KeeperState.LIVE and source is not None:
        return StreamState.RUNNING if source.state == "ended" else StreamState(source.state.value)
    if keeping in (KeeperState.PAUSED, KeeperState.ENDED):
        return StreamState(keeping.value)
    return StreamState.ERROR if failure is not None else StreamState.CONNECTING


def problem_of(
    keeping: KeeperState, source: SourceStatus | None, failure: tuple[str, str] | None
) -> tuple[str, str] | None:
    """Return code and message of what is wrong, except with the store."""
    if keeping is KeeperState.PAUSED:
        return None
    if source is None:
        return failure
    if source.state in ("running", "ended"):
        return None
    if source.last_error is not None:
        return source.last_error.code, str(source.last_error)
    return failure if source.state == "connecting" else None


def age_s(newest: Frame | None, source_age_s: float | None) -> float | None:
    """Return the newest frame's age: since its arrival, or without a source since its capture."""
    if source_age_s is not None or newest is None:
        return source_age_s
    return max(0.0, time.time() - newest.captured_at)
