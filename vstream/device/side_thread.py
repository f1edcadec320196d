"""SideThread: work beside the rounds of a device in, done in order in a thread of its own.

On a card it has a stream of its own too, so that what it waits for, such as a copy to the host,
keeps nothing else of the card waiting.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import torch

from vstream.errors import BusyError

Result = TypeVar("Result")


class SideThread:
    """One for a device. May be called from any thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="side")

    def mark(self) -> torch.cuda.Event | None:
        """All that the calling thread has given the card to do so far."""
        if self._device.type != "cuda":
            return None
        event: torch.cuda.Event = torch.cuda.current_stream(self._device).record_event()
        return event

    def run(self, work: Callable[[], Result], after: torch.cuda.Event | None) -> Future[Result]:
        """Have `work` done once the card has passed the mark `after`.

        What it makes on the card belongs to the stream of this thread: nothing of that may be kept
        but what was copied to the host. Raises BusyError where the process ends.
        """
        try:
            return self._thread.submit(self._run, work, after)
        except RuntimeError as error:
            raise BusyError(f"the process is ending: {error}") from error

    @torch.inference_mode()
    def _run(self, work: Callable[[], Result], after: torch.cuda.Event | None) -> Result:
        if after is None:
            return work()
        self._stream.wait_event(after)
        with torch.cuda.stream(self._stream):
            return work()

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)
