"""JustForgotten: remembers forgotten stretches, for work that began before they were forgotten."""

import time
from collections import deque
from collections.abc import Iterator
from math import inf

_MOST = 256


class JustForgotten:
    """Stretches forgotten while other work was under way. Guarded by its owner's lock."""

    def __init__(self) -> None:
        self._stretches: deque[tuple[float, str, float, float]] = deque(maxlen=_MOST)
        """When it was forgotten, by the monotonic clock; the stream; and the stretch."""

    def add(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Note that [from_s, to_s] is being forgotten now."""
        is_retention = from_s == -inf and to_s < inf
        if not is_retention:  # no work under way depends on anything that old
            self._stretches.append((time.monotonic(), stream_id, from_s, to_s))

    def since(self, began_at: float) -> Iterator[tuple[str, float, float]]:
        """Yield stream and stretch. `began_at` is by the monotonic clock, which nobody sets."""
        for at, stream_id, from_s, to_s in self._stretches:
            if began_at <= at:
                yield stream_id, from_s, to_s
