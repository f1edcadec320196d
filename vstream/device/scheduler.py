"""Scheduler: runs the works of many streams and askers on one device, in rounds of shared passes.

One thread drives one device in rounds. In a round every running work gets what it wants next: one
pass of the vision tower covers all frames, one pass of the decoder all tokens. A work that got the
next token of its answer is in the next round again, so all answers are decoded as one batch.

Who may start, in order of arrival within each kind:

    ask     `max_running` answers at a time, `MAX_PREFILLS` new ones a round; at most `max_waiting`
            wait, others are refused (BusyError). Each holder has a share of both, see
            `vstream.device.shares`: one that has used up its share of answers is passed over
    judge   what the questions leave of a round's prefills, and at least one in every other round
    ingest  chunks of at most `ingest_blocks` together, in rounds without a new question, and in
            every other round in any case
    keep    at once: puts encoded blocks into their memory, which needs no pass
    describe  what a memory policy wants to know: in rounds in which nothing else takes part, and in
            one of `PATIENCE_ROUNDS` in any case; pauses in all others

Each stream has at most one chunk waiting, which makes turns fair.

Source: iteration-level scheduling of Orca
(https://www.usenix.org/conference/osdi22/presentation/yu, section 4.1). Differs: works are of
several kinds; two of them are entitled to every other round, and one gets what the others leave.
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
from vstream.engine.prefill import Chunk
from vstream.errors import BusyError

_log = structlog.get_logger()
MAX_PREFILLS = 4
"""New questions that start in one round. Those behind them wait for a round, not for an answer."""
PATIENCE_ROUNDS = 32
"""A description that has been kept waiting this many rounds takes part in the next one."""
_MOMENT_S = 0.003
"""How long the next round waits for a stream to hand over its next chunk."""
_IDLE_S = 5.0
"""A device's thread ends after this long without work; the next work starts another."""
_LAST_ROUND_S = 30.0
"""How long the end of the process waits for a running round."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """How much runs or waits at a time."""

    max_running: int = 16
    """Answers being decoded."""
    max_waiting: int = 64
    """Questions waiting for their turn."""
    ingest_blocks: int = 16
    """Blocks encoded in one round, all streams together."""


@dataclass(frozen=True)
class Round:
    """Statistics of one round: works by kind, tokens in the decoder's pass, seconds."""

    works: dict[WorkKind, int]
    tokens: int
    seconds: float
    waited: tuple[tuple[WorkKind, float], ...] = ()
    """For each work that started in it: its kind and the seconds it had waited."""
    encoded_s: tuple[float, ...] = ()
    """For each chunk that was finished in it: the seconds since the chunk started."""


class Scheduler:
    """Runs works on one device; safe from any thread. One thread runs all works under `turn`:
    another thread that takes it may read and change the memories of that device's streams between
    rounds.
    """

    def __init__(
        self, decoder: Decoder, limits: Limits | None = None, fast: FastPath | None = None
    ) -> None:
        """`fast` is a faster path for some passes on a GPU."""
        self.turn = FairLock(Rank.DEVICE)
        self.limits = limits or Limits()
        self.on_round: Callable[[Round], None] = lambda done: None
        """Called after every round, in the device's thread; must not block."""
        self.on_kept: Callable[[Chunk], None] = lambda chunk: None
        """Called when a chunk's blocks are in the memory, in the same way; must not raise."""
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
        """Queue `work`; `blocks` is how many KV blocks it makes if it ingests. It is cancelled if
        the `asker` leaves. Callbacks of the job must not block. Raises BusyError if too many
        questions wait or the process is ending.
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
        """Submit `work` and wait for its result; if interrupted (Ctrl-C), end it first."""
        job = self.submit(work, kind, blocks)
        try:
            return job.result()
        finally:
            job.cancel()
            wait([job])

    @property
    def num_waiting(self) -> int:
        """Questions that have not started."""
        return len(self._waiting[WorkKind.ASK])

    @property
    def num_running(self) -> int:
        """Questions being prefilled or answered."""
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
                    atexit.unregister(self._end_with_process)  # it would keep the model alive
                    return
            with self.turn:
                started = time.perf_counter()
                try:
                    done = self._round(started)
                except Exception as error:  # noqa: BLE001  nobody may wait forever
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
        """Stop the thread: inside torch it would crash a process whose Python has ended."""
        with self._changed:
            self._is_over = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(_LAST_ROUND_S)

    def _await_chunk(self) -> None:
        """Give streams a moment to push; keep the blocks that must be kept before they can."""
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
        """`started` is when the round did, in `time.perf_counter` seconds."""
        self._end_cancelled()
        new = self._begin()
        for job in new:
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
            tokens=sum(len(request.embeddings) for request in wanted),
            seconds=time.perf_counter() - started,
            waited=tuple((job.kind, job.begun_at - job.submitted_at) for job in new),
            encoded_s=encoded_s,
        )

    @torch.inference_mode()
    def _keep(self) -> int:
        """Keep what was queued since the round started, as pushers wait for it; return how much."""
        with self._changed:
            keeps = _take(self._waiting[WorkKind.KEEP])
            self._running += keeps
        for job in keeps:
            job.advance()
        self._leave_out_ended()
        return len(keeps)

    def _end_cancelled(self) -> None:
        """Abort cancelled works; those that wait free their places too."""
        with self._changed:
            cancelled = [job for job in self._jobs() if job.is_cancelled]
            for job in cancelled:
                if job not in self._running:
                    self._waiting[job.kind].remove(job)
        for job in cancelled:
            job.abort(CancelledError())
        self._leave_out_ended()

    def _begin(self) -> list[Job[Any]]:
        """Start the works that may take part in this round, and return them."""
        with self._changed:
            new = _take(self._waiting[WorkKind.KEEP]) + self._next_questions()
            has_questions = any(job.kind is WorkKind.ASK for job in new)
            chunks = self._waiting[WorkKind.INGEST]
            may_ingest = not (chunks and has_questions and self._has_ingested)
            self._has_ingested = may_ingest
            blocks = 0
            while may_ingest and chunks:
                if blocks and blocks + chunks[0].blocks > self.limits.ingest_blocks:
                    break
                blocks += chunks[0].blocks
                new.append(chunks.popleft())
            new += self._next_descriptions(self._running + new)
            self._running += new
            return new

    def _next_descriptions(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """Return those that start, if any may take part in a round with `jobs`."""
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
        new: list[Job[Any]] = []
        for job in list(asks):
            if len(new) == MAX_PREFILLS - kept:
                break
            if has_room(job.holder, asking, self.limits.max_running):
                asks.remove(job)
                asking.append(job.holder)
                new.append(job)
        judged = _take(judges, MAX_PREFILLS - len(new))
        self._has_judged = bool(judged) or not judges
        return new + judged

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
