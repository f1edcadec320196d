"""StreamClock: presentation times of one or many connections in, one rising stream time out.

Within a connection the camera's own clock counts. Where that is missing, starts again (a new
connection, a rebooted camera) or leaps, the wall time that passed fills the gap.
"""

from dataclasses import dataclass

_MIN_STEP_S = 1e-6
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
        self._last: _Reading | None = None

    def advance(self, pts_s: float | None, arrival_s: float) -> float:
        """Stream time, in seconds, of the next frame. `arrival_s` is monotonic wall time."""
        stream_s = self._next_s(pts_s, arrival_s)
        self._last = _Reading(stream_s, pts_s, arrival_s)
        return stream_s

    def disconnect(self) -> None:
        """The next frame's presentation time has nothing to do with the last one's."""
        if self._last is not None:
            self._last = _Reading(self._last.stream_s, None, self._last.arrival_s)

    def _next_s(self, pts_s: float | None, arrival_s: float) -> float:
        last = self._last
        if last is None:
            since_s = arrival_s if self._since_s is None else self._since_s
            return self._start_s + max(0.0, arrival_s - since_s)
        passed_s = max(arrival_s - last.arrival_s, 1e-3)
        if pts_s is None or last.pts_s is None:
            return last.stream_s + passed_s
        step_s = pts_s - last.pts_s
        if step_s < _MIN_STEP_S or step_s > passed_s + _LEAP_S:
            step_s = passed_s
        return last.stream_s + step_s
