"""DeviceTurn: one forward pass at a time on a device, in the order of arrival."""

import threading
from collections import deque
from types import TracebackType


class DeviceTurn:
    """A fair lock: a question never waits behind more than one chunk of frames.

    threading.Lock makes no such promise: a thread that releases and takes it in a loop, as the
    ingestion worker does, can keep all others waiting.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def take(self, patience_s: float | None = None) -> bool:
        """Wait for it; False if it did not come in so many seconds. Whoever has it must `give`."""
        ticket, is_taken = object(), False
        with self._changed:
            self._waiting.append(ticket)
            try:
                is_taken = self._changed.wait_for(lambda: self._waiting[0] is ticket, patience_s)
            finally:
                if not is_taken:  # also at Ctrl-C: nobody may wait for this ticket
                    self._waiting.remove(ticket)
                    self._changed.notify_all()
        return is_taken

    def give(self) -> None:
        """Let the next one have it."""
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give()
