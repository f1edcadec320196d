"""Asker: who asks and whether they still wait in, an end to all that is done for them out."""

from collections.abc import Callable

from memory.locks import Rank, ranked_lock
from vstream.device.shares import Holder


class Asker:
    """Whose places a question takes, and whether anybody waits for its answer. From any thread."""

    def __init__(self, holder: Holder | None = None) -> None:
        self.holder = holder
        self.is_awaited = True
        """Whether the answer is for the request that asked; else it is looked up later."""
        self._lock = ranked_lock(Rank.ASKER)
        self.has_left = False
        """Whether nobody waits any more."""
        self._ends: list[Callable[[], object]] = []

    def leave(self) -> None:
        """Nobody waits any more: what is done for this asker ends. May be called repeatedly."""
        with self._lock:
            self.has_left = True
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    def on_leave(self, end: Callable[[], object]) -> None:
        """Call `end` when this asker leaves, or now if that was before; it must not block."""
        with self._lock:
            if not self.has_left:
                self._ends.append(end)
                return
        end()
