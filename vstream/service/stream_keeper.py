"""StreamKeeper: one stream of the service in; watched without end, paused, restarted, told of out.

Each keeper has a session, a thread and a source of its own: a camera that hangs or a store that
breaks takes nobody with it. What goes wrong for good in one attempt is tried again after a while;
only a file that has ended, or a stream that another process has taken over, is left alone.
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
from vstream.service.stream_notes import NOTE
from vstream.service.stream_spec import StreamSpec
from vstream.service.stream_status import (
    STORE_AWAY,
    StreamProblem,
    StreamState,
    StreamStatus,
    age_s,
    sum_of,
)
from vstream.session import Session
from vstream.sources.backoff import Backoff
from vstream.sources.permission import SourcePolicy
from vstream.sources.pushed_frames import PushedFrames, PushOutcome
from vstream.sources.status import SourceCounts

_log = structlog.get_logger()
_OPENING_S = 5.0
"""So long a pushed frame waits for a stream that is just being opened."""


class StreamKeeper:
    """May be used from any thread. `session` answers questions whatever the state."""

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
        self.is_paused = False
        self._worker: IngestWorker | None = None
        self._pushed: PushedFrames | None = None
        self._newest: Frame | None = None
        self._failure: tuple[str, str] | None = None
        """Code and message of what ended the last attempt, if it ended badly."""
        self._is_broken = False
        """Whether the session may not hold what the store does."""
        self._told: StreamProblem | None = None
        self._has_ended = False
        self._restarts = 0
        self._total = SourceCounts()
        self._encoded = self._duplicates = 0
        self._is_closing = False
        self._is_called = False
        """Whether pause, resume or restart was called since the last attempt began."""
        self._changed = ranked_condition(Rank.KEEPER)
        self._thread = threading.Thread(target=self._keep, name=f"keep {spec.id}", daemon=True)

    def start(self, *, paused: bool = False) -> None:
        """Begin to watch, or to wait for `resume`."""
        self.is_paused = paused
        self._thread.start()

    def pause(self) -> None:
        """Let go of the source until `resume`, over a restart of the service as well; what has been
        seen can be asked about.
        """
        with self._changed:
            self.is_paused = True
            worker = self._call()
        _stop(worker)
        self._remember_pause()

    def resume(self) -> None:
        with self._changed:
            if self.is_paused:
                self.is_paused = False
                self._call()
        self._remember_pause()

    def restart(self) -> None:
        """Open the source anew, at once; also one that is paused or has ended."""
        with self._changed:
            self.is_paused = self._has_ended = False
            self._restarts += 1
            worker = self._call()
        _stop(worker)
        self._remember_pause()

    def push(self, jpeg: bytes, captured_at: float | None) -> PushOutcome:
        """Take a frame from a client. Raises SourceError for one that is none or comes too late."""
        if self.spec.source.kind != "push":
            raise SourceError(
                f"stream {self.spec.id} has a source of its own; push to one of type push",
                "SOURCE_UNSUPPORTED",
            )
        with self._changed:
            self._changed.wait_for(
                lambda: self._pushed is not None or self.is_paused or self._is_closing,
                timeout=_OPENING_S,
            )
            pushed, failure = self._pushed, self._failure
        if self.is_paused:
            raise SourceError(f"stream {self.spec.id} is paused: resume it first", "STREAM_PAUSED")
        if pushed is None:
            code, why = failure or ("STREAM_DISCONNECTED", "it is being closed")
            raise SourceError(f"stream {self.spec.id} takes no frames now: {why}", code)
        return pushed.push(jpeg, captured_at)

    @property
    def note(self) -> dict[str, Any]:
        """What `remember` has kept."""
        found: dict[str, Any] = self.session.memory.note.get(NOTE, {})
        return found

    def remember(self, **values: Any) -> None:
        """Keep what a service needs to go on with this stream, by name. Raises StoreError."""
        memory = self.session.memory
        memory.require_there()  # nobody waits for a store with the turn in hand
        with self.model.turn:
            memory.set_note({**memory.note, NOTE: {**self.note, **values}})

    def _remember_pause(self) -> None:
        """It is so even where that cannot be kept."""
        try:
            self.remember(paused=self.is_paused)
        except StoreError as error:
            _log.warning("a pause is forgotten by a restart", stream=self.spec.id, why=str(error))

    def change(self, spec: StreamSpec) -> None:
        """Take over what `spec` says of context and zone. Raises StoreError; nothing has changed
        then.
        """
        changed = self.spec.model_copy(update={"context": spec.context, "timezone": spec.timezone})
        if self.note.get("spec") is not None:
            self.remember(spec=changed.model_dump(mode="json"))
        self.spec = changed

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete what was seen in [from_s, to_s]; how many blocks. Raises StoreError."""
        gone = self.session.forget(from_s, to_s)
        worker = self._worker
        if gone and worker is not None:
            worker.keep_next()
        newest = self._newest
        if newest is not None and from_s <= newest.stream_s <= to_s:
            self._newest = None
        return gone

    def close(self, *, erase: bool = False) -> None:
        """Stop watching, flush what was seen and let the memory go, or delete it for good.

        Raises StoreError if not all could be flushed, or it could not be deleted.
        """
        with self._changed:
            self._is_closing = True
            worker = self._call()
        _stop(worker)
        if self._thread.is_alive():
            self._thread.join()
        try:
            with self.model.turn:
                if erase:
                    self.session.memory.erase()
                self.session.memory.shut()
        finally:  # outside the turn: a store that is away is waited for
            self.session.close()

    @property
    def newest_frame(self) -> Frame | None:
        """The newest frame, as the model sees it."""
        return self._newest

    @property
    def status(self) -> StreamStatus:
        worker, newest = self._worker, self._newest
        source = None if worker is None else worker.status
        counts = sum_of(self._total, source.counts if source else SourceCounts())
        progress = worker.progress if worker is not None else None
        return StreamStatus(
            state=self._state(worker),
            problem=self._current_problem(worker),
            counts=counts,
            frames_sampled=counts.frames_delivered,
            frames_encoded=self._encoded + (progress.frames_encoded if progress else 0),
            frames_duplicate=self._duplicates + (progress.frames_duplicate if progress else 0),
            last_frame_at=None if newest is None else newest.captured_at,
            last_frame_age_s=age_s(newest, source.last_frame_age_s if source else None),
            stream_s=self.session.memory.newest_s if newest is None else newest.stream_s,
            restarts=self._restarts,
        )

    def _state(self, worker: IngestWorker | None) -> StreamState:
        if self.is_paused:
            return StreamState.PAUSED
        if self._has_ended:
            return StreamState.ERROR if self._failure else StreamState.ENDED
        if worker is not None and not self._is_called:  # else it is on its way out
            return StreamState(worker.status.state.value)
        return StreamState.ERROR if self._failure else StreamState.CONNECTING

    def _current_problem(self, worker: IngestWorker | None) -> StreamProblem | None:
        """With the time since when it is so, which the first look at it gives."""
        found = self._what_is_wrong(worker)
        with self._changed:
            told = self._told
            if found is None:
                self._told = None
            elif told is not None and told.code == found[0]:
                self._told = replace(told, message=found[1])
            else:
                self._told = StreamProblem(*found, time.time())
            return self._told

    def _what_is_wrong(self, worker: IngestWorker | None) -> tuple[str, str] | None:
        away = None if self._is_broken else self.session.memory.away
        if away is not None:
            return STORE_AWAY, away
        if self.is_paused:
            return None
        status = None if worker is None else worker.status
        if status is None or status.state in ("running", "ended"):
            return self._failure if status is None else None
        if status.last_error is not None:
            return status.last_error.code, str(status.last_error)
        return self._failure if status.state == "connecting" else None

    def _keep(self) -> None:
        backoff = Backoff(self._config.source.retry_min_s, self._config.source.retry_max_s)
        while self._may_watch():
            began = time.monotonic()
            if self._attempt():
                continue
            if time.monotonic() - began >= self._config.source.stable_s:
                backoff.reset()
            with self._changed:
                self._changed.wait_for(lambda: self._is_called, timeout=backoff.next_s())

    def _call(self) -> IngestWorker | None:
        """Wake the thread, with the lock held; the worker that is to be stopped, without it."""
        self._is_called, self._pushed = True, None
        self._changed.notify_all()
        return self._worker

    def _may_watch(self) -> bool:
        """Wait until there is something to watch; False if there never will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closing or not (self.is_paused or self._has_ended)
            )
            self._is_called = False
            return not self._is_closing

    def _attempt(self) -> bool:
        """Watch once; False if that failed and is to be tried again."""
        for_good = True
        try:
            self._watch_once()
        except FencedError as error:
            self._is_broken = True
            self._fail("STORE_FAILED", error)
        except SourceError as error:
            self._fail(error.code, error)
            for_good = self.spec.source.kind == "file"
        except Exception as error:  # noqa: BLE001  this stream alone is in trouble
            self._is_broken, for_good = True, False
            known = isinstance(error, VStreamError | KVMemoryError)
            if not known:
                _log.exception("watching failed", stream=self.spec.id)
            code = STORE_AWAY if isinstance(error, StoreAwayError) else "STORE_FAILED"
            self._fail(code if known else "INTERNAL", error)
        else:
            self._failure = None
        with self._changed:
            self._has_ended = for_good and not self._is_called
        return for_good

    def _watch_once(self) -> None:
        """Until the source ends, is paused or fails; raises what made it fail."""
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
            is_wanted = not self._is_called
            if is_wanted:
                self._worker = worker
        try:
            if is_wanted:
                worker.run()
                with self._changed:  # known before the worker is gone, or it seems to connect again
                    self._failure, self._has_ended = None, not self._is_called
        finally:
            worker.stop()
            with self._changed:
                self._worker = self._pushed = None
                self._total = sum_of(self._total, worker.status.counts)
                self._encoded += worker.progress.frames_encoded
                self._duplicates += worker.progress.frames_duplicate

    def _open_push(self, start_s: float, wants: Callable[[float], bool]) -> PushedFrames:
        pushed = PushedFrames(
            self.spec.id,
            self._config.source,
            start_s=start_s,
            wants=wants,
            mask=self.spec.mask(),
        )
        with self._changed:
            if not self._is_called:
                self._pushed = pushed
                self._changed.notify_all()
        return pushed

    def _reopen_memory(self) -> None:
        """After a failure of the store the session may not hold what the store does."""
        if not self._is_broken:
            return
        with self.model.turn:
            self.session.memory.shut()
        with suppress(StoreError):
            self.session.close()
        self.session = open_session(self._config, self.model, self.spec.id)
        self._is_broken = False

    def _saw(self, frame: Frame) -> None:
        self._newest = frame

    def _fail(self, code: str, error: Exception) -> None:
        self._failure = (code, str(error))
        _log.warning("stream failed", stream=self.spec.id, code=code, reason=str(error))


def _stop(worker: IngestWorker | None) -> None:
    if worker is not None:
        worker.stop()
