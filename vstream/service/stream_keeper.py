"""StreamKeeper watches one stream for the service: it restarts, pauses and reports it.

Each keeper has a session, a thread and a source of its own, so a camera that hangs or a store that
breaks harms no other stream. A camera reconnects by itself (`vstream.sources.live_stream`); the
keeper reopens what failed, after a while. It leaves alone only a file that has ended and a stream
that another process has taken over.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from encoders import Frame
from memory import FencedError, KVMemoryError, StoreAwayError, StoreError
from memory.locks import Rank, ranked_condition
from vstream.config import VStreamConfig
from vstream.errors import SourceError, VStreamError
from vstream.ingest import IngestWorker, OpenSource, SeenFrame
from vstream.models.video_llm import VideoLLM
from vstream.open_session import open_session
from vstream.service.keeper_state import ATTEMPT, KeeperEvent, KeeperState, after
from vstream.service.stream_notes import NOTE, service_note
from vstream.service.stream_spec import StreamSpec
from vstream.service.stream_status import (
    STORE_AWAY,
    StreamProblem,
    StreamStatus,
    age_s,
    problem_of,
    state_of,
)
from vstream.session import Session
from vstream.sources.backoff import Backoff
from vstream.sources.permission import SourcePolicy
from vstream.sources.pushed_frames import PushedFrames, PushOutcome
from vstream.sources.seldom import Seldom
from vstream.sources.status import SourceCounts, sum_of

_log = structlog.get_logger()
_OPENING_S = 5.0
"""How long a pushed frame waits for a stream that is being opened."""


class StreamKeeper:
    """Safe from any thread. `session` answers questions whatever the state."""

    def __init__(
        self,
        spec: StreamSpec,
        config: VStreamConfig,
        model: VideoLLM,
        policy: SourcePolicy | None = None,
        on_frame: Callable[["StreamKeeper", SeenFrame], None] = lambda keeper, frame: None,
    ) -> None:
        """`config` is this stream's own. `policy` is asked before each connection; None trusts the
        source. `on_frame` is called in the stream's thread for each sampled frame, once it has been
        encoded.

        Raises StoreError, FingerprintMismatchError if its memory cannot be opened, ModelError.
        """
        fps = config.source.sample_fps
        self.spec = spec
        self.model = model if fps is None else model.at_rate(fps)
        self._config = config
        self._policy = policy
        self._on_frame = on_frame
        self.session: Session = open_session(config, self.model, spec.id)
        self.state = KeeperState.NEW
        """What the keeper is doing; `status` also says how its source is doing."""
        self.newest_frame: Frame | None = None
        """As the model sees it."""
        self._worker: IngestWorker | None = None
        self._pushed: PushedFrames | None = None
        self._failure: tuple[str, str] | None = None
        """Code and message of what ended the last attempt, if it failed."""
        self._failures = Seldom()
        self._problem: StreamProblem | None = None
        self._is_broken = False
        """Whether the session may hold something else than the store."""
        self._restarts = 0
        self._total = SourceCounts()
        self._encoded = self._duplicates = 0
        self._changed = ranked_condition(Rank.KEEPER)
        """Guards all fields above."""
        self._thread = threading.Thread(target=self._keep, name=f"keep {spec.id}", daemon=True)

    def start(self, *, paused: bool = False) -> None:
        """Start watching, or waiting for `resume`."""
        self._call(KeeperEvent.PAUSE if paused else KeeperEvent.START)
        self._thread.start()

    def pause(self) -> None:
        """Release the source until `resume`, even over a restart of the service; what has been seen
        can still be asked about.
        """
        self._call_noted(KeeperEvent.PAUSE)

    def resume(self) -> None:
        self._call_noted(KeeperEvent.RESUME)

    def restart(self) -> None:
        """Open the source again at once, even if it is paused or has ended."""
        with self._changed:
            self._restarts += 1
        self._call_noted(KeeperEvent.RESTART)

    def push(self, jpeg: bytes, captured_at: float | None) -> PushOutcome:
        """Take a frame from a client. Raises SourceError if it is invalid or comes too late."""
        if self.spec.source.kind != "push":
            raise SourceError(
                f"stream {self.spec.id} has a source of its own; push to one of type push",
                "SOURCE_UNSUPPORTED",
            )
        with self._changed:
            over = (KeeperState.PAUSED, KeeperState.CLOSED)
            self._changed.wait_for(lambda: self._pushed or self.state in over, timeout=_OPENING_S)
            state, pushed, failure = self.state, self._pushed, self._failure
        if state is KeeperState.PAUSED:
            raise SourceError(f"stream {self.spec.id} is paused: resume it first", "STREAM_PAUSED")
        if pushed is None:
            code, why = failure or ("STREAM_DISCONNECTED", "it is being closed")
            raise SourceError(f"stream {self.spec.id} takes no frames now: {why}", code)
        return pushed.push(jpeg, captured_at)

    @property
    def is_taken(self) -> bool:
        """Whether another process writes the stream now."""
        return isinstance(self.session.memory.failure, FencedError)

    @property
    def note(self) -> dict[str, Any]:
        return service_note(self.session.memory.note)

    def remember(self, **values: Any) -> None:
        """Keep by name what a service needs to continue this stream. Raises StoreError. Waits
        for the device's turn if anything is new.
        """
        memory = self.session.memory
        if memory.note.get(NOTE) == {**self.note, **values}:
            return
        memory.require_there()  # never wait for a store with the turn in hand
        with self.model.turn:
            memory.set_note({**memory.note, NOTE: {**self.note, **values}})

    def _call_noted(self, event: KeeperEvent) -> None:
        """Apply `event`, even if it cannot be noted for a restart."""
        self._call(event)
        try:
            self.remember(paused=self.state is KeeperState.PAUSED)
        except StoreError as error:
            _log.warning("a pause is forgotten by a restart", stream=self.spec.id, why=str(error))

    def change(self, spec: StreamSpec) -> None:
        """Take over context and zone of `spec`. Raises StoreError; then nothing has changed."""
        changed = self.spec.model_copy(update={"context": spec.context, "timezone": spec.timezone})
        if self.note.get("spec") is not None:
            self.remember(spec=changed.model_dump(mode="json"))
        self.spec = changed

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete what was seen in [from_s, to_s]; return how many blocks. Raises StoreError."""
        gone = self.session.forget(from_s, to_s)
        with self._changed:
            worker, newest = self._worker, self.newest_frame
            if newest is not None and from_s <= newest.stream_s <= to_s:
                self.newest_frame = None
        if gone and worker is not None:
            worker.keep_next()
        return gone

    def close(self, *, erase: bool = False) -> None:
        """Stop watching; flush what was seen, or delete it for good. Raises StoreError."""
        self._call(KeeperEvent.CLOSE)
        if self._thread.is_alive():
            self._thread.join()
        try:
            with self.model.turn:
                if erase:
                    self.session.memory.erase()
                self.session.memory.shut()
        finally:  # outside the turn: it may wait for a store that is away
            self.session.close()

    @property
    def status(self) -> StreamStatus:
        with self._changed:
            keeping, worker, newest = self.state, self._worker, self.newest_frame
            failure, is_broken, restarts = self._failure, self._is_broken, self._restarts
            counts, encoded, duplicates = self._total, self._encoded, self._duplicates
        source = None if worker is None else worker.status
        if worker is not None and source is not None:
            counts = sum_of(counts, source.counts)
            encoded += worker.progress.frames_encoded
            duplicates += worker.progress.frames_duplicate
        away = None if is_broken else self.session.memory.away
        wrong = (STORE_AWAY, away) if away is not None else problem_of(keeping, source, failure)
        return StreamStatus(
            state=state_of(keeping, source, failure),
            problem=self._since(wrong),
            counts=counts,
            frames_sampled=counts.frames_delivered,
            frames_encoded=encoded,
            frames_duplicate=duplicates,
            last_frame_at=None if newest is None else newest.captured_at,
            last_frame_age_s=age_s(newest, source.last_frame_age_s if source else None),
            stream_s=self.session.memory.newest_s if newest is None else newest.stream_s,
            restarts=restarts,
        )

    def _since(self, found: tuple[str, str] | None) -> StreamProblem | None:
        """Add since when it is so, counted from the first look at it."""
        with self._changed:
            known = self._problem
            if found is None:
                self._problem = None
            elif known is not None and known.code == found[0]:
                self._problem = replace(known, message=found[1])
            else:
                self._problem = StreamProblem(*found, time.time())
            return self._problem

    def _call(self, event: KeeperEvent) -> None:
        """Apply what a user calls: stop what is open and no longer wanted."""
        with self._changed:
            is_wanted = self._go(event) in ATTEMPT
            worker = None if is_wanted else self._worker
        if worker is not None:
            worker.stop()

    def _go(self, event: KeeperEvent) -> KeeperState:
        self.state = after(self.state, event)
        if self.state not in ATTEMPT:
            self._pushed = None
        self._changed.notify_all()
        return self.state

    def _keep(self) -> None:
        backoff = Backoff(self._config.source.retry_min_s, self._config.source.retry_max_s)
        while self._begins(backoff):
            began = time.monotonic()
            self._attempt()
            if time.monotonic() - began >= self._config.source.stable_s:
                backoff.reset()

    def _begins(self, backoff: Backoff) -> bool:
        """Wait until there is something to watch; return False if there never will be."""
        with self._changed:
            if self.state is KeeperState.RETRYING:
                self._changed.wait_for(
                    lambda: self.state is not KeeperState.RETRYING, timeout=backoff.next_s()
                )
            self._changed.wait_for(
                lambda: self.state in (KeeperState.DUE, KeeperState.RETRYING, KeeperState.CLOSED)
            )
            return self._go(KeeperEvent.BEGIN) is KeeperState.OPENING

    def _attempt(self) -> None:
        """Watch once, to the end; a failure is retried, or permanent."""
        try:
            self._watch_once()
        except FencedError as error:
            self._fail("STORE_FAILED", error, is_broken=True, for_good=True)
        except SourceError as error:
            self._fail(error.code, error, for_good=self.spec.source.kind == "file")
        except Exception as error:  # noqa: BLE001  this stream alone is in trouble
            known = isinstance(error, VStreamError | KVMemoryError)
            if not known:
                _log.exception("watching failed", stream=self.spec.id)
            code = STORE_AWAY if isinstance(error, StoreAwayError) else "STORE_FAILED"
            self._fail(code if known else "INTERNAL", error, is_broken=True)

    def _watch_once(self) -> None:
        """Watch until the source ends, is paused or fails. Raises what made it fail."""
        self._reopen_memory()
        url, config = self.spec.source.url, self._config.source
        source: str | OpenSource = url or self._open_push
        if self._policy is not None:
            config = self._policy.confined(config)
        worker = IngestWorker(
            self.session,
            source,
            config,
            speed=self.spec.source.speed,
            loop=self.spec.source.loop,
            keep_trying=True,
            mask=self.spec.mask() if url else None,
            permit=self._policy.check if self._policy is not None and url else None,
            on_frame=partial(self._on_frame, self),
            on_seen=self._saw,
        )
        with self._changed:
            is_wanted = self._go(KeeperEvent.OPENED) is KeeperState.LIVE
            if is_wanted:
                self._worker = worker
        try:
            if is_wanted:
                worker.run()
            with self._changed:  # before the worker is gone, or it would seem to reconnect
                self._failure = None
                self._go(KeeperEvent.END)
        finally:
            worker.stop()
            with self._changed:
                self._worker = self._pushed = None
                self._total = sum_of(self._total, worker.status.counts)
                self._encoded += worker.progress.frames_encoded
                self._duplicates += worker.progress.frames_duplicate

    def _open_push(self, start_s: float, wants: Callable[[float], bool]) -> PushedFrames:
        pushed = PushedFrames(
            self.spec.id, self._config.source, start_s, wants, mask=self.spec.mask()
        )
        with self._changed:
            if self.state in ATTEMPT:
                self._pushed = pushed
                self._changed.notify_all()
        return pushed

    def _reopen_memory(self) -> None:
        """Reopen the session after a failure of the store: it may hold something else."""
        if not self._is_broken:
            return
        with self.model.turn:
            self.session.memory.shut()
        with suppress(StoreError):
            self.session.close()
        session = open_session(self._config, self.model, self.spec.id)
        with self._changed:
            self.session, self._is_broken = session, False

    def _saw(self, frame: Frame) -> None:
        self._failures.is_well()
        with self._changed:
            self.newest_frame = frame

    def _fail(
        self, code: str, error: Exception, *, is_broken: bool = False, for_good: bool = False
    ) -> None:
        with self._changed:
            self._failure = (code, str(error))
            self._is_broken = self._is_broken or is_broken
            self._go(KeeperEvent.GIVE_UP if for_good else KeeperEvent.FAIL)
        if times := self._failures.times(code):
            fields = {"code": code, "reason": str(error), "times": times}
            _log.warning("stream failed", stream=self.spec.id, **fields)
