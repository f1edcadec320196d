"""Wishes: has the model answer what a memory policy wants to know, and notes the answers.

Wishes are granted one after another, oldest first, behind everybody's questions and chunks (see
`vstream.device.scheduler`): pushing goes on meanwhile, unless it waits for them. The policy works
on an answer in the side thread; all else happens between the passes of the device.
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
    """Call `renew` and `drop` in the device's thread, or with its turn."""

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
        """`_job` is granting the first of them."""
        self._job: Job[str] | None = None
        self._are_granted = threading.Event()
        self._are_granted.set()

    def renew(self) -> None:
        """Ask the policy again, as blocks came or went, and note the wishes it gave up."""
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
        """Grant no more of them, and keep no answer that is on its way."""
        self._let_go()
        self._waiting = []
        self._are_granted.set()

    def wait(self, stop: threading.Event | None) -> None:
        """Wait until all are granted, or `stop` is set."""
        while not self._are_granted.wait(_POLL_S):
            if stop is not None and stop.is_set():
                return

    def _let_go(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _go_on(self) -> None:
        """Start granting the first that waits, if none is being granted."""
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
        """Let the policy work on the answer; give up a failed wish, or others wait forever."""
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
        """Note it, unless it was given up or what it tells of was forgotten meanwhile."""
        if self._job is job:
            self._job, self._waiting = None, self._waiting[1:]
            try:
                if noted is None:
                    noted = self._policy.answered(wish, None, self._memory.state)
                self._memory.note_state(noted)
            finally:  # nobody may wait forever
                self._go_on()
        return
        yield  # it wants nothing of the model
