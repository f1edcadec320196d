"""Wishes: what a memory policy wants to know of one stream in, the model's answers noted out.

They are granted one after the other, oldest first, behind everybody's questions and chunks (see
`vstream.device.scheduler`): who pushes goes on meanwhile, unless it waits for them. What the policy
makes of an answer it makes in the side thread; all else happens between the passes of the device.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import structlog

from memory import KVMemory, MemoryPolicy
from memory.policy_hooks import StateChange, Wish
from vstream.device.scheduler import Scheduler
from vstream.device.work import Job, WorkKind
from vstream.engine.passes import Work
from vstream.errors import BusyError

_log = structlog.get_logger()
_POLL_S = 0.5


class Wishes:
    """`renew` and `drop` are called in the device's thread, or with its turn in hand."""

    def __init__(
        self,
        policy: MemoryPolicy,
        memory: KVMemory,
        scheduler: Scheduler,
        begin: Callable[[Wish], Job[str]],
    ) -> None:
        self._policy = policy
        self._memory = memory
        self._scheduler = scheduler
        self._begin = begin
        self._waiting: list[Wish] = []
        """The first of them is being granted by `_job`."""
        self._job: Job[str] | None = None
        self._are_granted = threading.Event()
        self._are_granted.set()

    def renew(self) -> None:
        """Ask the policy again, as blocks came or went, and note those it gave up."""
        wished = list(self._policy.wishes(self._memory, self._memory.state))
        given_up = [one for one in self._waiting if one not in wished]
        if given_up and given_up[0] == self._waiting[0]:
            self._let_go()
        self._waiting = wished
        for wish in given_up:
            _log.warning("the device was too busy to describe a clip", until_s=wish.at_s)
            self._memory.note_state(self._policy.answered(wish, None, self._memory.state))
        self._go_on()

    def drop(self) -> None:
        """Grant none of them, and keep no answer that is on its way."""
        self._let_go()
        self._waiting = []
        self._are_granted.set()

    def wait(self, stop: threading.Event | None) -> None:
        """Return once all are granted, or `stop` is set."""
        while not self._are_granted.wait(_POLL_S):
            if stop is not None and stop.is_set():
                return

    def _let_go(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _go_on(self) -> None:
        """With the first that waits, if none is being granted."""
        if not self._waiting:
            self._are_granted.set()
            return
        self._are_granted.clear()
        if self._job is None:
            try:
                self._job = self._begin(self._waiting[0])
            except BusyError:  # the process is ending
                self.drop()
            else:
                self._job.add_done_callback(self._ended)

    def _ended(self, job: Future[str]) -> None:
        try:
            if self._job is job:
                self._scheduler.side.run(partial(self._answered, job, self._waiting[0]), None)
        except BusyError:  # as above
            self.drop()

    def _answered(self, job: Future[str], wish: Wish) -> None:
        """What the policy makes of it; what went wrong is given up, lest others wait forever."""
        noted: StateChange | None = None
        try:
            noted = self._policy.answered(wish, job.result(), self._memory.state)
        except Exception as error:  # noqa: BLE001  the stream goes on without
            _log.warning("a clip was not described", until_s=wish.at_s, reason=str(error))
        try:
            self._scheduler.submit(self._note(job, wish, noted), WorkKind.KEEP)
        except BusyError:  # as above
            self.drop()

    def _note(self, job: Future[str], wish: Wish, noted: StateChange | None) -> Work[None]:
        """Unless it was given up meanwhile, or what it tells of was forgotten."""
        if self._job is job:
            self._job, self._waiting = None, self._waiting[1:]
            try:
                if noted is None:
                    noted = self._policy.answered(wish, None, self._memory.state)
                self._memory.note_state(noted)
            finally:  # who waits must not wait forever
                self._go_on()
        return
        yield  # it wants nothing of the model
