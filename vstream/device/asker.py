"""Asker: who asks, whether they still wait, and how to end all work done for them."""

from collections.abc import Callable
from typing import Any

from memory.locks import Rank, ranked_lock
from vstream.device.shares import Holder


class Asker:
    """Whose share a question takes, and whether anybody waits for its answer. Thread-safe."""

    def __init__(self, holder: Holder | None = None) -> None:
        self.holder = holder
        self.is_awaited = True
        """Whether the request waits for the answer; if not, it is looked up later."""
        self.trace: Any = None
        """The trace that the request belongs to, if traces are kept."""
        self._lock = ranked_lock(Rank.ASKER)
        self.has_left = False
        self._ends: list[Callable[[], object]] = []

    def leave(self) -> None:
        """Note that nobody waits any more, and end the work for this asker. May be repeated."""
        with self._lock:
            self.has_left = True
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    def on_leave(self, end: Callable[[], object]) -> None:
        """Call `end` when this asker leaves, or now if it has left; `end` must not block."""
        with self._lock:
            if not self.has_left:
                self._ends.append(end)
                return
        end()
