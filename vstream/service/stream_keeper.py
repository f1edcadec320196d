"""StreamKeeper: one stream of the service in; watched without end, paused, restarted, told of out.

Each keeper has a session, a thread and a source of its own: a camera that hangs or a store that
breaks takes nobody with it. What goes wrong for good in one attempt is tried again after a while;
only a file that has ended, or a stream that another process has taken over, is left alone.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog

from encoders import Frame
from memory import FencedError, KVMemoryError, StoreError
from vstream.config import VStreamConfig
from vstream.errors import SourceError, VStreamError
from vstream.ingest import IngestWorker, OpenSource
from vstream.open_session import open_session
from vstream.service.stream_spec import StreamSpec
from vstream.session import Session
from vstream.sources.backoff import Backoff
from vstream.sources.permission import SourcePolicy
from vstream.sources.pushed_frames import PushedFrames, PushOutcome
from vstream.sources.status import SourceCounts
from vstream.video_llm import VideoLLM

_log = structlog.get_logger()
NOTE = "service"
"""Under this name the note of a stream holds what a service needs to go on with it."""


class StreamState(StrEnum):
    """As SourceState, and what only a keeper knows."""

    CONNECTING = "connecting"
    RUNNING = "running"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    PAUSED = "paused"
    ENDED = "ended"
    ERROR = "error"


@dataclass(frozen=True)
class StreamProblem:
    """What is wrong; `code` is that of a SourceError, STORE_AWAY, STORE_FAILED or INTERNAL."""

    code: str
    message: str
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class StreamStatus:
    """How one stream is doing now. Times are seconds since the epoch."""

    state: StreamState
    problem: StreamProblem | None
    counts: SourceCounts
    frames_sampled: int
    frames_encoded: int
    frames_duplicate: int
    last_frame_at: float | None
    """When the newest frame was captured."""
    last_frame_age_s: float | None
    stream_s: float
    restarts: int


class StreamKeeper:
    """May be used from any thread. `session` answers questions whatever the state."""

    def __init__(
        self,
        spec: StreamSpec,
        config: VStreamConfig,
        model: VideoLLM,
        policy: SourcePolicy | None = None,
        on_frame: Callable[["StreamKeeper", Frame], None] = lambda keeper, frame: None,
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
        self._problem: StreamProblem | None = None
        self._has_ended = False
        self._restarts = 0
        self._total = SourceCounts()
        self._encoded = self._duplicates = 0
        self._stop = threading.Event()
        self._attend = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"keep {spec.id}", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def pause(self) -> None:
        """Let go of the source until `resume`; what has been seen can be asked about."""
        with self._lock:
            self.is_paused = True
            self._stop_worker()

    def resume(self) -> None:
        with self._lock:
            self.is_paused = False
            self._attend.set()

    def restart(self) -> None:
        """Open the source anew, at once; also one that is paused or has ended."""
        with self._lock:
            self.is_paused = self._has_ended = False
            self._restarts += 1
            self._stop_worker()
            self._attend.set()

    def push(self, jpeg: bytes, captured_at: float | None) -> PushOutcome:
        """Take a frame from a client. Raises SourceError for one that is none or comes too late."""
        pushed = self._pushed
        if self.spec.source.kind != "push":
            raise SourceError(
                f"stream {self.spec.id} has a source of its own; push to one of type push",
                "SOURCE_UNSUPPORTED",
            )
        if pushed is None:
            raise SourceError(f"stream {self.spec.id} is paused: resume it first", "STREAM_PAUSED")
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

    def change(self, spec: StreamSpec) -> None:
        """Take over what `spec` says of context and zone. Raises StoreError."""
        self.spec = self.spec.model_copy(
            update={"context": spec.context, "timezone": spec.timezone}
        )
        self.remember(spec=self.spec.model_dump(mode="json"))

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete what was seen in [from_s, to_s]; how many blocks. Raises StoreError."""
        gone = self.session.forget(from_s, to_s)
        newest = self._newest
        if newest is not None and from_s <= newest.stream_s <= to_s:
            self._newest = None
        return gone

    def close(self, *, erase: bool = False) -> None:
        """Stop watching, flush what was seen and let the memory go, or delete it for good.

        Raises StoreError if it could not be deleted.
        """
        self._stop.set()
        self.pause()
        if self._thread.is_alive():
            self._thread.join()
        with self.model.turn:
            if erase:
                self.session.memory.erase()
            self.session.close()

    @property
    def newest_frame(self) -> Frame | None:
        """The newest frame, as the model sees it."""
        return self._newest

    @property
    def status(self) -> StreamStatus:
        worker, newest = self._worker, self._newest
        source = None if worker is None else worker.status
        counts = _sum(self._total, source.counts if source else SourceCounts())
        progress = worker.progress if worker is not None else None
        return StreamStatus(
            state=self._state(worker),
            problem=self._current_problem(worker),
            counts=counts,
            frames_sampled=counts.frames_delivered,
            frames_encoded=self._encoded + (progress.frames_encoded if progress else 0),
            frames_duplicate=self._duplicates + (progress.frames_duplicate if progress else 0),
            last_frame_at=None if newest is None else newest.captured_at,
            last_frame_age_s=_age_s(newest, source.last_frame_age_s if source else None),
            stream_s=self.session.memory.newest_s if newest is None else newest.stream_s,
            restarts=self._restarts,
        )

    def _state(self, worker: IngestWorker | None) -> StreamState:
        if self.is_paused:
            return StreamState.PAUSED
        if self._has_ended:
            return StreamState.ERROR if self._problem else StreamState.ENDED
        if worker is not None:
            return StreamState(worker.status.state.value)
        return StreamState.ERROR if self._problem else StreamState.CONNECTING

    def _current_problem(self, worker: IngestWorker | None) -> StreamProblem | None:
        away = self.session.memory.away
        if away is not None:
            return self._told("STORE_AWAY", away)
        error = None if worker is None else worker.status.last_error
        if error is None or worker is None:
            return self._problem
        if worker.status.state in ("running", "ended"):
            return None
        return self._told(error.code, str(error))

    def _told(self, code: str, message: str) -> StreamProblem:
        """With the time since when it is so, which the first look at it gives."""
        known = self._problem
        since = known.since if known is not None and known.code == code else time.time()
        self._problem = StreamProblem(code, message, since)
        return self._problem

    def _keep(self) -> None:
        backoff = Backoff(self._config.source.retry_min_s, self._config.source.retry_max_s)
        while not self._stop.is_set():
            self._attend.clear()
            if self.is_paused or self._has_ended:
                self._attend.wait()
                continue
            began = time.monotonic()
            try:
                self._watch_once()
                self._problem = None
                self._has_ended = not (self._stop.is_set() or self.is_paused or self._is_asked())
                continue
            except FencedError as error:
                self._fail("STORE_FAILED", error)
                self._has_ended = True
                continue
            except SourceError as error:
                self._fail(error.code, error)
                self._has_ended = self.spec.source.kind == "file"
            except (VStreamError, KVMemoryError) as error:
                self._fail("STORE_FAILED", error)
            except Exception as error:  # noqa: BLE001  this stream alone is in trouble
                _log.exception("watching failed", stream=self.spec.id)
                self._fail("INTERNAL", error)
            if time.monotonic() - began >= self._config.source.stable_s:
                backoff.reset()
            self._attend.wait(backoff.next_s())

    def _is_asked(self) -> bool:
        """Whether `restart` or `resume` was called since the last attempt began."""
        return self._attend.is_set()

    def _watch_once(self) -> None:
        """Until the source ends, is paused or fails; raises what made it fail."""
        self._reopen_memory()
        url, config = self.spec.source.url, self._config.source
        source: str | OpenSource = url or self._open_push
        if self._policy is not None:
            config = self._policy.confined(config)
        with self._lock:
            if self.is_paused or self._stop.is_set():
                return
            worker = self._worker = IngestWorker(
                self.session,
                source,
                config,
                real_time=self.spec.source.real_time,
                keep_trying=True,
                mask=self.spec.mask() if url else None,
                permit=self._policy.check if self._policy is not None and url else None,
                on_frame=self._looked_at,
                on_seen=self._saw,
            )
        try:
            worker.run()
        finally:
            with self._lock:
                self._worker = self._pushed = None
                self._total = _sum(self._total, worker.status.counts)
                self._encoded += worker.progress.frames_encoded
                self._duplicates += worker.progress.frames_duplicate

    def _open_push(self, start_s: float, wants: Callable[[float], bool]) -> PushedFrames:
        self._pushed = PushedFrames(
            self.spec.id,
            self._config.source,
            start_s=start_s,
            wants=wants,
            mask=self.spec.mask(),
        )
        return self._pushed

    def _reopen_memory(self) -> None:
        """After a failure of the store the session may not hold what the store does."""
        if self._problem is None or self._problem.code not in ("STORE_FAILED", "INTERNAL"):
            return
        with self.model.turn, suppress(StoreError):
            self.session.close()
        self.session = open_session(self._config, self.model, self.spec.id)

    def _saw(self, frame: Frame) -> None:
        self._newest = frame

    def _looked_at(self, stream_s: float) -> None:
        newest = self._newest
        if newest is not None:
            self._on_frame(self, newest)

    def _fail(self, code: str, error: Exception) -> None:
        self._told(code, str(error))
        _log.warning("stream failed", stream=self.spec.id, code=code, reason=str(error))

    def _stop_worker(self) -> None:
        self._attend.set()
        if self._worker is not None:
            self._worker.stop()


def _age_s(newest: Frame | None, source_age_s: float | None) -> float | None:
    """Of the newest frame: since its arrival, or with no source open since its capture."""
    if source_age_s is not None or newest is None:
        return source_age_s
    return max(0.0, time.time() - newest.captured_at)


def _sum(one: SourceCounts, other: SourceCounts) -> SourceCounts:
    names = vars(one)
    return SourceCounts(**{name: getattr(one, name) + getattr(other, name) for name in names})
