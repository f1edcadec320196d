"""Rates: counts of a stream's frames as they grow in, frames per second of the last seconds out."""

import time
from collections import deque

_OVER_S = 6.0


class Rates:
    """Measured where they are shown, over the looks at one stream."""

    def __init__(self) -> None:
        self._stream: str | None = None
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def of(
        self, stream_id: str, frames: dict[str, int], now_s: float | None = None
    ) -> dict[str, float]:
        """By the names of the counts; empty until there are looks a second apart."""
        now_s = time.monotonic() if now_s is None else now_s
        if stream_id != self._stream or (self._looks and _went_back(self._looks[-1][1], frames)):
            self._stream = stream_id
            self._looks.clear()
        self._looks.append((now_s, frames))
        while self._looks[0][0] < now_s - _OVER_S:
            self._looks.popleft()
        began_s, before = self._looks[0]
        if now_s - began_s < 1:
            return {}
        return {name: (frames[name] - before.get(name, 0)) / (now_s - began_s) for name in frames}


def _went_back(before: dict[str, int], frames: dict[str, int]) -> bool:
    """The service was started again."""
    return any(frames.get(name, 0) < count for name, count in before.items())
