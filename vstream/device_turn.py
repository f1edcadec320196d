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

    def __enter__(self) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is ticket)
            except BaseException:  # Ctrl-C while waiting: nobody may wait for this ticket
                self._waiting.remove(ticket)
                self._changed.notify_all()
                raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()
