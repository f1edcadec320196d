"""StreamClock: turns presentation times of one or many connections into one rising stream time.

Within a connection the camera's own clock counts. If that is missing, starts again (a new
connection, a rebooted camera) or leaps, the wall time that passed fills the gap. A server that
starts with the last seconds, all at once, puts the clock ahead by them, but not again each time.
"""

from dataclasses import dataclass

_MIN_STEP_S = 1e-6
_JITTER_S = 0.5
_LEAP_S = 5.0  # a camera's clock that runs ahead of the wall by more than this has been reset


@dataclass(frozen=True)
class _Reading:
    stream_s: float
    pts_s: float | None
    arrival_s: float


class StreamClock:
    """Stream time of one live source. Strictly rising, whatever the camera does."""

    def __init__(self, start_s: float = 0.0, since_s: float | None = None) -> None:
        """The first frame gets `start_s`, plus the time from `since_s` to its arrival."""
        self._start_s = start_s
        self._since_s = since_s
        self._first: _Reading | None = None
        self._most_ahead_s: float | None = None
        """After a disconnection: how far ahead of the wall it may be, like the first connection."""
        self._last: _Reading | None = None

    def advance(self, pts_s: float | None, arrival_s: float) -> float:
        """Return the next frame's stream time in seconds. `arrival_s` is monotonic wall time."""
        stream_s = self._next_s(pts_s, arrival_s)
        self._last = _Reading(stream_s, pts_s, arrival_s)
        self._first = self._first or self._last
        return stream_s

    def disconnect(self) -> None:
        """Forget the last presentation time: that of the next frame has nothing to do with it."""
        last = self._last
        if last is not None:
            if self._most_ahead_s is None:
                ahead_s = last.stream_s - self._by_wall_s(last.arrival_s)
                self._most_ahead_s = max(0.0, ahead_s) + _JITTER_S
            self._last = _Reading(last.stream_s, None, last.arrival_s)

    def _next_s(self, pts_s: float | None, arrival_s: float) -> float:
        last = self._last
        if last is None:
            since_s = arrival_s if self._since_s is None else self._since_s
            return self._start_s + max(0.0, arrival_s - since_s)
        passed_s = max(arrival_s - last.arrival_s, 1e-3)
        if pts_s is None or last.pts_s is None:
            step_s = passed_s
        else:
            step_s = pts_s - last.pts_s
            if step_s < _MIN_STEP_S or step_s > passed_s + _LEAP_S:
                step_s = passed_s
        if self._most_ahead_s is not None:
            most_s = self._by_wall_s(arrival_s) + self._most_ahead_s - last.stream_s
            step_s = max(_MIN_STEP_S, min(step_s, most_s))
        return last.stream_s + step_s

    def _by_wall_s(self, arrival_s: float) -> float:
        """Return what it would be if only wall time had counted since the first frame."""
        assert self._first is not None
        return self._first.stream_s + arrival_s - self._first.arrival_s
