"""SideThread: work beside the rounds of a device in, done in order in a thread of its own.

On a card it has a stream of its own too, so that what it waits for, such as a copy to the host,
keeps nothing else of the card waiting.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import torch


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

    def run(
        self,
        prepare: Callable[[], None],
        finish: Callable[[], None],
        after: torch.cuda.Event | None,
    ) -> Future[None]:
        """`prepare` in the stream of this thread, once the card has passed the mark `after`; and,
        when all that it gave the card is done, `finish` in the stream of everybody else.

        What either raises is the future's, and `finish` is left out if `prepare` fails.
        """
        return self._thread.submit(self._run, prepare, finish, after)

    @torch.inference_mode()
    def _run(
        self,
        prepare: Callable[[], None],
        finish: Callable[[], None],
        after: torch.cuda.Event | None,
    ) -> None:
        if after is None:
            prepare()
        else:
            self._stream.wait_event(after)
            with torch.cuda.stream(self._stream):
                prepare()
            self._stream.synchronize()
        finish()

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)
