"""BusyDevice: a scheduler in, the share of the time in which its rounds ran out."""

import time
from types import TracebackType
from typing import Self

from vstream.device.scheduler import Round, Scheduler


class BusyDevice:
    """Listens while it is entered; whoever listened before goes on afterwards.

    A round is as long as the thread that drives the device was at it: where nothing is read back, a
    card may still be computing when it ends.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._busy_s = 0.0
        self._began = self._ended = 0.0

    @property
    def share(self) -> float:
        """0 to 1, of the time entered."""
        return min(1.0, self._busy_s / max(self._ended - self._began, 1e-9))

    def __enter__(self) -> Self:
        self._before, self._scheduler.on_round = self._scheduler.on_round, self._add
        self._began = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = time.perf_counter()
        self._scheduler.on_round = self._before

    def _add(self, done: Round) -> None:
        self._busy_s += done.seconds
