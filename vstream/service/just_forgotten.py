"""JustForgotten: stretches that were forgotten in, those of since something began out."""

import time
from collections import deque
from collections.abc import Iterator
from math import inf

_MOST = 256


class JustForgotten:
    """For what was under way meanwhile. Belongs to who holds the lock of what is told."""

    def __init__(self) -> None:
        self._stretches: deque[tuple[float, str, float, float]] = deque(maxlen=_MOST)
        """When, of which stream, and which stretch."""

    def add(self, stream_id: str, from_s: float, to_s: float) -> None:
        """[from_s, to_s] is being forgotten now."""
        is_retention = from_s == -inf and to_s < inf
        if not is_retention:  # on what is that old nothing rests that is under way
            self._stretches.append((time.time(), stream_id, from_s, to_s))

    def since(self, began_at: float) -> Iterator[tuple[str, float, float]]:
        """Stream, and stretch. `began_at` is seconds since the epoch."""
        for at, stream_id, from_s, to_s in self._stretches:
            if began_at <= at:
                yield stream_id, from_s, to_s
