"""StreamClock: presentation times of one or many connections in, one rising stream time out.

Within a connection the camera's own clock counts. Where that is missing, starts again (a new
connection, a rebooted camera) or leaps, the wall time that passed fills the gap. A server that
begins with the last seconds, all at once, puts the clock ahead by them, but not again each time.
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
        """The first frame gets `start_s`, and what passed since `since_s` by its arrival."""
        self._start_s = start_s
        self._since_s = since_s
        self._first: _Reading | None = None
        self._most_ahead_s: float | None = None
        """Once it was disconnected: as far ahead of the wall as the first connection had been."""
        self._last: _Reading | None = None

    def advance(self, pts_s: float | None, arrival_s: float) -> float:
        """Stream time, in seconds, of the next frame. `arrival_s` is monotonic wall time."""
        stream_s = self._next_s(pts_s, arrival_s)
        self._last = _Reading(stream_s, pts_s, arrival_s)
        self._first = self._first or self._last
        return stream_s

    def disconnect(self) -> None:
        """The next frame's presentation time has nothing to do with the last one's."""
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
        """What it would be had only the wall time counted since the first frame."""
        assert self._first is not None
        return self._first.stream_s + arrival_s - self._first.arrival_s
