"""stopped_by_signal: turn SIGTERM into an event, so that a command can end cleanly."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """In this context, SIGTERM only sets the event. Use it in the main thread."""
    stopped = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)
