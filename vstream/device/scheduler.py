"""Scheduler: works of many streams and askers in, rounds of shared passes on one device out.

One thread drives one device in rounds. In a round every running work gets what it wants next: all
frames one pass of the vision tower, all tokens one pass of the decoder. A work that has got its
answer's next token is in the next round again, so answers of all askers are decoded in one batch.

Who may start, in the order of arrival within each kind:

    ask     `max_running` answers at a time, `MAX_PREFILLS` new ones a round; at most `max_waiting`
            wait, others are refused (BusyError). Each holder has a share of either, see
            `vstream.device.shares`: who has as many running as may is passed over
    judge   what the questions leave of a round's prefills, and one in every other round at least
    ingest  chunks of at most `ingest_blocks` together, in rounds without a new question; but in
            one of two rounds anyhow
    keep    at once: encoded blocks are put into their memory, which needs no pass
    describe  what a memory policy wants to know: in rounds in which nobody else takes part, and
            in one of `PATIENCE_ROUNDS` anyhow; one that runs rests in all others

Every stream has one chunk waiting at most, which makes turns fair.

Source: iteration-level scheduling of Orca (https://www.usenix.org/conference/osdi22/presentation/yu,
section 4.1). Differs: works are of several kinds, two of them have a right to every second round,
and one to what the others leave.
"""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
import torch

from memory.locks import Rank, ranked_condition
from vstream.device.asker import Asker
from vstream.device.shares import has_room, require_room
from vstream.device.work import FairLock, Job, SideThread, WorkKind
from vstream.engine.decoder import Decoder
from vstream.engine.passes import FastPath, Pass, Vision, Work, pass_together, see_together
from vstream.errors import BusyError

_log = structlog.get_logger()
MAX_PREFILLS = 4
"""New questions that begin in one round: those after them wait for a round, not for an answer."""
PATIENCE_ROUNDS = 32
"""A description that others have kept waiting for so many rounds takes part in the next one."""
_MOMENT_S = 0.003
"""Who has had a chunk encoded may hand on the next one before the next round of others begins."""
_IDLE_S = 5.0
"""The thread of a device that has had nothing to do for so long ends; the next work starts one."""
_LAST_ROUND_S = 30.0
"""How long the end of the process waits for a round that is going on."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """How much is taken on at a time."""

    max_running: int = 16
    """Answers that are being decoded."""
    max_waiting: int = 64
    """Questions that wait for their turn."""
    ingest_blocks: int = 16
    """Blocks of all streams together that are encoded in one round."""


@dataclass(frozen=True)
class Round:
    """What one round was: works by kind, tokens in the decoder's pass, seconds."""

    works: dict[WorkKind, int]
    tokens: int
    seconds: float
    waited: tuple[tuple[WorkKind, float], ...] = ()
    """Of each work that began in it: for how many seconds it had waited for that."""
    encoded_s: tuple[float, ...] = ()
    """Of each chunk that was encoded at its end: how long that took."""


class Scheduler:
    """Runs works on one device. May be called from any thread. Every work runs in one thread of its
    own, under `turn`: a thread that takes it may read and change the memories of that device's
    streams between two rounds.
    """

    def __init__(
        self, decoder: Decoder, limits: Limits | None = None, fast: FastPath | None = None
    ) -> None:
        """`fast` is a faster path for some passes, which a card has."""
        self.turn = FairLock(Rank.DEVICE)
        self.limits = limits or Limits()
        self.on_round: Callable[[Round], None] = lambda done: None
        """Told of every round, in the device's thread; must not block."""
        self.side = SideThread(decoder.device)
        self._decoder = decoder
        self._fast = fast
        self._changed = ranked_condition(Rank.SCHEDULER)
        self._waiting: dict[WorkKind, deque[Job[Any]]] = {kind: deque() for kind in WorkKind}
        self._running: list[Job[Any]] = []
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._has_ingested = True
        self._has_judged = True
        self._rounds_rested = 0
        self._may_describe = False

    def submit(
        self, work: Work[Result], kind: WorkKind, blocks: int = 0, asker: Asker | None = None
    ) -> Job[Result]:
        """Take `work` on; `blocks` is how many KV blocks an ingesting one makes. It is cancelled if
        the `asker` leaves. Raises BusyError for a question too many, and where the process ends.
        What is called when the job is done must not block.
        """
        job = Job(work, kind, blocks, None if asker is None else asker.holder)
        with self._changed:
            if self._is_over:
                raise BusyError("the process is ending: nothing is taken on any more")
            if kind is WorkKind.ASK:
                waiting = [other.holder for other in self._waiting[kind]]
                require_room(job.holder, waiting, self.limits.max_waiting, "questions are waiting")
            self._waiting[kind].append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="device", daemon=True)
                self._thread.start()
                atexit.register(self._end_with_process)
            self._changed.notify_all()
        if asker is not None:
            asker.on_leave(job.cancel)
        return job

    def run(self, work: Work[Result], kind: WorkKind, blocks: int = 0) -> Result:
        """`submit`, and wait for the result. Where that is interrupted (Ctrl-C) it ends first."""
        job = self.submit(work, kind, blocks)
        try:
            return job.result()
        finally:
            job.cancel()
            wait([job])

    @property
    def num_waiting(self) -> int:
        """Questions that have not begun."""
        return len(self._waiting[WorkKind.ASK])

    @property
    def num_running(self) -> int:
        """Questions that are being read or answered."""
        return sum(job.kind is WorkKind.ASK and not job.done() for job in list(self._running))

    def _loop(self) -> None:
        has_encoded = False
        while True:
            if has_encoded and (self._running or self._waiting[WorkKind.DESCRIBE]):
                self._await_chunk()
            with self._changed:
                self._changed.wait_for(lambda: self._is_over or self._jobs(), timeout=_IDLE_S)
                if self._is_over or not self._jobs():
                    self._thread = None
                    self._running = self._jobs()  # nobody may wait for a thread that has ended
                    for waiting in self._waiting.values():
                        waiting.clear()
                    self._fail_running(
                        BusyError("the process is ending: this was not done any more")
                    )
                    atexit.unregister(self._end_with_process)  # or the model would stay forever
                    return
            with self.turn:
                started = time.perf_counter()
                try:
                    done = self._round(started)
                except Exception as error:  # noqa: BLE001  those who wait must not wait forever
                    _log.exception("a round failed")
                    self._fail_running(error)
                    has_encoded = False
                    continue
                has_encoded = done.works[WorkKind.INGEST] > 0
            try:
                self.on_round(done)
            except Exception:  # noqa: BLE001  the works go on
                _log.exception("telling of a round failed")

    def _end_with_process(self) -> None:
        """A thread that the end of Python meets inside of torch takes the process with it."""
        with self._changed:
            self._is_over = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(_LAST_ROUND_S)

    def _await_chunk(self) -> None:
        """Give who pushes a moment; what must be kept before they can go on is kept."""
        until = time.monotonic() + _MOMENT_S
        chunks, keeps = self._waiting[WorkKind.INGEST], self._waiting[WorkKind.KEEP]
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_over or chunks or keeps, timeout=until - time.monotonic()
                )
                if self._is_over or chunks or not keeps:
                    return
            with self.turn:
                self._keep()

    def _jobs(self) -> list[Job[Any]]:
        return [*self._running, *(job for jobs in self._waiting.values() for job in jobs)]

    @torch.inference_mode()
    def _round(self, started: float) -> Round:
        """`started` is when it did, in `time.perf_counter` seconds."""
        self._end_cancelled()
        begun = self._begin()
        for job in begun:
            job.begun_at = time.perf_counter()
            job.advance()
        self._leave_out_ended()
        taking_part = [
            job for job in self._running if self._may_describe or job.kind is not WorkKind.DESCRIBE
        ]
        works = {kind: sum(job.kind is kind for job in taking_part) for kind in WorkKind}
        seeing = [job for job in taking_part if isinstance(job.request, Vision)]
        _answer(seeing, see_together([job.request for job in seeing]))  # type: ignore[misc]
        passing = [job for job in taking_part if isinstance(job.request, Pass)]
        wanted: list[Pass] = [job.request for job in passing]  # type: ignore[misc]
        if wanted:
            _answer(passing, pass_together(self._decoder, wanted, self._fast))
        self._leave_out_ended()
        now = time.perf_counter()
        chunks = [job for job in taking_part if job.kind is WorkKind.INGEST]
        encoded_s = tuple(now - job.begun_at for job in chunks if job.done())
        works[WorkKind.KEEP] += self._keep()
        return Round(
            works,
            tokens=sum(len(one.embeddings) for one in wanted),
            seconds=time.perf_counter() - started,
            waited=tuple((job.kind, job.begun_at - job.submitted_at) for job in begun),
            encoded_s=encoded_s,
        )

    @torch.inference_mode()
    def _keep(self) -> int:
        """What has come to be kept since the round began: who pushes waits for it. How many."""
        with self._changed:
            keeps = _take(self._waiting[WorkKind.KEEP])
            self._running += keeps
        for job in keeps:
            job.advance()
        self._leave_out_ended()
        return len(keeps)

    def _end_cancelled(self) -> None:
        """Those who wait make room as well."""
        with self._changed:
            cancelled = [job for job in self._jobs() if job.is_cancelled]
            for job in cancelled:
                if job not in self._running:
                    self._waiting[job.kind].remove(job)
        for job in cancelled:
            job.abort(CancelledError())
        self._leave_out_ended()

    def _begin(self) -> list[Job[Any]]:
        """Those that may start in this round; they are running from now on."""
        with self._changed:
            begun = _take(self._waiting[WorkKind.KEEP]) + self._next_questions()
            has_questions = any(job.kind is WorkKind.ASK for job in begun)
            chunks = self._waiting[WorkKind.INGEST]
            may_ingest = not (chunks and has_questions and self._has_ingested)
            self._has_ingested = may_ingest
            blocks = 0
            while may_ingest and chunks:
                if blocks and blocks + chunks[0].blocks > self.limits.ingest_blocks:
                    break
                blocks += chunks[0].blocks
                begun.append(chunks.popleft())
            begun += self._next_descriptions(self._running + begun)
            self._running += begun
            return begun

    def _next_descriptions(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """Those that begin, if any may take part in a round of these."""
        running = sum(job.kind is WorkKind.DESCRIBE for job in jobs)
        waiting = self._waiting[WorkKind.DESCRIBE]
        is_quiet = all(job.kind in (WorkKind.DESCRIBE, WorkKind.KEEP) for job in jobs)
        self._may_describe = is_quiet or self._rounds_rested >= PATIENCE_ROUNDS
        if not self._may_describe:
            self._rounds_rested = self._rounds_rested + 1 if running or waiting else 0
            return []
        self._rounds_rested = 0
        return _take(waiting, MAX_PREFILLS - running)

    def _next_questions(self) -> list[Job[Any]]:
        asks, judges = self._waiting[WorkKind.ASK], self._waiting[WorkKind.JUDGE]
        asking = [job.holder for job in self._running if job.kind is WorkKind.ASK]
        kept = 0 if self._has_judged or not judges else 1
        begun: list[Job[Any]] = []
        for job in list(asks):
            if len(begun) == MAX_PREFILLS - kept:
                break
            if has_room(job.holder, asking, self.limits.max_running):
                asks.remove(job)
                asking.append(job.holder)
                begun.append(job)
        judged = _take(judges, MAX_PREFILLS - len(begun))
        self._has_judged = bool(judged) or not judges
        return begun + judged

    def _fail_running(self, error: Exception) -> None:
        for job in self._running:
            if not job.done():
                job.abort(error)
        self._running = []

    def _leave_out_ended(self) -> None:
        self._running = [job for job in self._running if not job.done()]


def _take(waiting: deque[Job[Any]], count: int | None = None) -> list[Job[Any]]:
    most = len(waiting) if count is None else min(count, len(waiting))
    return [waiting.popleft() for _ in range(most)]


def _answer(jobs: Iterable[Job[Any]], replies: Iterable[Any]) -> None:
    for job, reply in zip(jobs, replies, strict=True):
        job.advance(reply)
