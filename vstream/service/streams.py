"""Streams: creates, lists, asks and deletes the streams of one service and its store, by id."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import inf
from typing import Protocol

import structlog

from memory import (
    FencedError,
    KVMemoryError,
    Provenance,
    StoreAwayError,
    StoreError,
    erase_stored,
    find_stream,
    open_stored,
    require_stream_id,
    stored_ids,
)
from memory.locks import Rank, ranked_lock
from vstream.answer_stream import AnswerStream
from vstream.config import VStreamConfig
from vstream.device.free_memory import return_free_memory
from vstream.errors import (
    BusyError,
    ConfiguredError,
    StreamExistsError,
    UnknownStreamError,
    VStreamError,
)
from vstream.ingest import SeenFrame
from vstream.models.video_llm import VideoLLM
from vstream.open_readers import OpenReaders, host_shares, with_host_bytes
from vstream.open_session import open_session
from vstream.policy import policy_of_blocks
from vstream.question import Question
from vstream.search.recap import Describable
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.forgetting import forget_firings
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_notes import ABANDONED, StreamNote, StreamNotes
from vstream.service.stream_spec import StreamSpec, config_of
from vstream.service.stream_status import StreamState
from vstream.session import Session
from vstream.sources.permission import SourcePolicy

_log = structlog.get_logger()
_LOOK_S = 0.5
"""How often to look at the states of all streams, to publish changes as events."""
_TRIM_S = 10.0
"""How often freed memory goes back to the system."""


class Askable(Describable, Protocol):
    """A stream that also answers questions."""

    def ask(self, question: Question) -> AnswerStream: ...


class Streams:
    """Safe from any thread."""

    def __init__(
        self,
        config: VStreamConfig,
        model: VideoLLM,
        events: EventLog,
        *,
        policy: SourcePolicy,
        max_streams: int,
        max_readers: int,
        configured: Sequence[StreamSpec] = (),
        is_one_of_many: bool = False,
        on_frame: Callable[[StreamKeeper, SeenFrame], None] = lambda keeper, frame: None,
        on_forgotten: Callable[[str, float, float], None] = lambda stream_id, from_s, to_s: None,
        on_adopted: Callable[[StreamKeeper], None] = lambda keeper: None,
        on_released: Callable[[StreamKeeper], None] = lambda keeper: None,
    ) -> None:
        """`policy` restricts sources, except `configured` ones, which are the operator's own. At
        most `max_streams` are watched, and share the configured host RAM. If the store lasts, half
        of it is for stored streams, about `max_readers` of which are read at a time.

        `on_frame` is called in a stream's thread for each of its sampled frames, `on_forgotten`
        once a stretch of a stream is deleted; the stretch ends at inf if that is everything.
        `on_adopted` is called once a stream of another process is watched here, `on_released`
        before another process takes a stream over.
        """
        self._config, self._model, self._events = config, model, events
        self._policy, self._max_streams = policy, max_streams
        self._on_frame, self._on_forgotten = on_frame, on_forgotten
        self._on_adopted, self._on_released = on_adopted, on_released
        self._keepers: dict[str, StreamKeeper] = {}
        self._lock = ranked_lock(Rank.STREAMS)
        self._opening: set[str] = set()
        self._host_bytes, for_stored = host_shares(config, max_streams)
        self._readers = OpenReaders(with_host_bytes(config, for_stored), model, max_readers)
        self._configured, self.is_one_of_many = configured, is_one_of_many
        self._notes = StreamNotes(config.memory, configured, self._say_not_opened)
        self._stop = threading.Event()
        self._monitor = threading.Thread(target=self._watch_states, name="states", daemon=True)
        self._monitor.start()

    def open_known(self) -> None:
        """Open the configured streams, and continue those that were created over the API. Log a
        stream that cannot be opened, and publish an event.
        """
        notes = self._notes.all()
        for spec in self._configured:
            with self._reporting_failure(spec.id):
                self.create(spec, trusted=True, paused=spec.id in notes and notes[spec.id].paused)
        for note in self._notes.left():
            with self._reporting_failure(note.stream_id):
                self._adopt(note)

    def wanted(self) -> dict[str, StreamNote]:
        """Return the notes of all streams that should be watched, by id: here or, in a cluster, by
        any worker. Raises StoreError.
        """
        if not self.is_one_of_many:
            return {
                one.spec.id: StreamNote(one.spec.id, one.note, True, None) for one in self.all()
            }
        return {stream_id: one for stream_id, one in self.known().items() if one.is_wanted}

    def known(self) -> dict[str, StreamNote]:
        """Return the notes and writers of all streams of the store and the configuration, by id. A
        stream that cannot be read is left out. Raises StoreError.
        """
        return self._notes.all()

    def adopt(self, stream_id: str) -> StreamKeeper:
        """Continue a stream that another process has left, and its alerts, as its note or the
        configuration says.

        Raises UnknownStreamError if no service should watch it, StoreError if somebody writes it,
        and what `create` raises.
        """
        note = self._notes.find(require_stream_id(stream_id))
        if note is None or not note.is_wanted:
            raise UnknownStreamError(f"no service has left a stream {stream_id} to continue")
        if note.is_live:
            by = note.writer or "another process"
            raise StoreError(f"stream {stream_id} is being written by {by}")
        keeper = self._adopt(note)
        self._on_adopted(keeper)
        return keeper

    def _adopt(self, note: StreamNote) -> StreamKeeper:
        trusted = note.configured is not None
        keeper = self._open(note.spec, trusted=trusted, paused=note.paused)
        if not note.noted:
            self._events.publish(EventKind.STREAM_CREATED, note.stream_id, {})
        keeper.start(paused=note.paused)
        return keeper

    def release(self, stream_id: str) -> None:
        """Flush the stream and close it, for another process to `adopt` it. Its note stays, and no
        event reports it as deleted. If another process has taken it, it is only closed.

        Raises UnknownStreamError, StoreError.
        """
        keeper = self.get(stream_id)
        self._on_released(keeper)
        with self._lock:
            if self._keepers.pop(stream_id, None) is None:
                raise UnknownStreamError(f"there is no stream {stream_id} here")
            watched = set(self._keepers)
        try:
            with suppress(FencedError):
                keeper.close()
        finally:
            self._events.leave_to_others(watched)

    def create(
        self, spec: StreamSpec, *, trusted: bool = False, paused: bool = False
    ) -> StreamKeeper:
        """Open the stream's memory and start to watch it, or wait for `resume` if `paused`. A
        source that is not `trusted` must be allowed.

        Raises StreamExistsError, BusyError if the limit of streams is reached, SourceError for a
        source that is not allowed, and what `StreamKeeper` raises.
        """
        keeper = self._open(spec, trusted=trusted, paused=paused)
        self._events.publish(EventKind.STREAM_CREATED, spec.id, {})
        keeper.start(paused=paused)
        return keeper

    def _open(self, spec: StreamSpec, *, trusted: bool, paused: bool) -> StreamKeeper:
        """Do what `create` does, except starting the keeper."""
        policy = None if trusted else self._policy
        if policy is not None and spec.source.url is not None:
            policy.check(spec.source.url)
        most = self._max_streams
        with self._lock:
            taken = self._opening.union(self._keepers)
            if spec.id in taken:
                raise StreamExistsError(f"there is a stream {spec.id} already: choose another id")
            if len(taken) >= most:
                raise BusyError(f"there are {most} streams, as many as may be: delete one")
            self._opening.add(spec.id)
        try:
            config = config_of(spec, self._config, self._host_bytes)
            keeper = StreamKeeper(spec, config, self._model, policy, self._on_frame)
            try:
                # A trusted spec is in the configuration alone, so that its passwords stay there.
                noted = None if trusted else spec.model_dump(mode="json")
                keeper.remember(spec=noted, paused=paused)
            except StoreError:
                with suppress(StoreError):
                    keeper.close()
                raise
            with self._lock:
                self._keepers[spec.id] = keeper
        finally:
            with self._lock:
                self._opening.discard(spec.id)
        return keeper

    def find(self, stream_id: str) -> StreamKeeper | None:
        """Return the keeper of a stream, if this service watches it."""
        return self._keepers.get(stream_id)

    def get(self, stream_id: str) -> StreamKeeper:
        """Like `find`, but raises UnknownStreamError."""
        keeper = self.find(stream_id)
        if keeper is None:
            raise UnknownStreamError(f"there is no stream {stream_id} here")
        return keeper

    def spec_of(self, stream_id: str) -> StreamSpec | None:
        """Return the spec of a stream, watched here or elsewhere; None if nobody watches it."""
        if (keeper := self.find(stream_id)) is not None:
            return keeper.spec
        with suppress(StoreError):
            note = self._notes.find(require_stream_id(stream_id))
            return note.spec if note is not None and note.is_wanted else None
        return None

    def all(self) -> list[StreamKeeper]:
        """Return the keepers of all streams that this service watches, by id."""
        with self._lock:
            return [self._keepers[stream_id] for stream_id in sorted(self._keepers)]

    def stored(self) -> list[str]:
        """Return the ids of stored streams that are not watched here. Raises StoreError."""
        return sorted(set(stored_ids(self._config.memory.store)) - set(self._keepers))

    @contextmanager
    def askable(self, stream_id: str) -> Iterator[Askable]:
        """Give a stream, watched or stored. Raises UnknownStreamError, `open_reader`'s errors."""
        keeper = self._keepers.get(stream_id)
        if keeper is not None:
            yield keeper.session
            return
        self._require_stored(stream_id)
        with self._readers.reader(stream_id) as reader:
            yield reader

    def ask(self, stream_id: str, ask: Callable[[Askable], AnswerStream]) -> AnswerStream:
        """Return what `ask` returns for the stream, even if that gets another writer meanwhile.
        Raises UnknownStreamError, and what `OpenReaders.ask` raises.
        """
        keeper = self._keepers.get(stream_id)
        if keeper is not None:
            return ask(keeper.session)
        self._require_stored(stream_id)
        return self._readers.ask(stream_id, ask)

    def passing(self) -> Session:
        """Return a session of an empty stream in host RAM, in no list; it ends with its last
        reference.
        """
        budgets = {"file_bytes": None, "redis_bytes": None, "retain_s": None}
        kept = {"store": "memory://", "host_bytes": self._host_bytes, **budgets}
        memory = self._config.memory.model_copy(update=kept)
        return open_session(self._config.model_copy(update={"memory": memory}), self._model, "-")

    def forget(self, stream_id: str, from_s: float, to_s: float) -> int:
        """Delete [from_s, to_s]; return how many blocks. Raises UnknownStreamError, StoreError."""
        keeper = self._keepers.get(stream_id)
        if keeper is not None:
            gone = keeper.forget(from_s, to_s)
        else:
            policy, written = None, self._require_stored(stream_id).fingerprint
            with suppress(KVMemoryError):  # its package is missing: all its notes go
                policy = policy_of_blocks(self._config, self._model, written)
            with open_stored(self._config.memory, stream_id, policy) as memory:
                gone = memory.forget(from_s, to_s)
                forget_firings(memory, stream_id, from_s, to_s)
        self._on_forgotten(stream_id, from_s, to_s)
        self._events.publish(
            EventKind.MEMORY_FORGOTTEN, stream_id, {"from_s": from_s, "to_s": to_s, "blocks": gone}
        )
        return gone

    def delete(self, stream_id: str, *, purge: bool) -> None:
        """Stop watching it; `purge` deletes its memory. Raises UnknownStreamError, StoreError,
        ConfiguredError for a configured one, which other workers would start again.
        """
        if self.is_one_of_many and any(spec.id == stream_id for spec in self._configured):
            raise ConfiguredError(f"the configuration declares stream {stream_id}: remove it there")
        with self._lock:
            keeper = self._keepers.get(stream_id)
            if keeper is not None:
                away = keeper.session.memory.away
                if purge and away is not None:  # do it whole or not at all
                    raise StoreAwayError(away)
                del self._keepers[stream_id]
        if keeper is None:
            self._require_stored(stream_id)
            if purge:
                erase_stored(self._config.memory, stream_id)
            else:
                self._notes.note_abandoned(stream_id)
            self._say_deleted(stream_id, purge)
            return
        try:
            if not purge:
                with suppress(StoreError):  # it will be found and watched again
                    keeper.remember(**ABANDONED)
            keeper.close(erase=purge)
        finally:
            self._say_deleted(stream_id, purge)

    @contextmanager
    def _reporting_failure(self, stream_id: str) -> Iterator[None]:
        """Report a stream that cannot be opened, so that the others still are."""
        try:
            yield
        except (VStreamError, KVMemoryError) as error:
            self._say_not_opened(stream_id, error)

    def _say_not_opened(self, stream_id: str, error: Exception) -> None:
        _log.error("stream not opened", stream=stream_id, reason=str(error))
        state = {"state": "error", "message": str(error)}
        self._events.publish(EventKind.STREAM_STATE, stream_id, state)

    def _say_deleted(self, stream_id: str, purged: bool) -> None:
        self._readers.drop(stream_id)
        if purged:
            self._on_forgotten(stream_id, -inf, inf)
        self._events.publish(EventKind.STREAM_DELETED, stream_id, {"purged": purged})

    def close(self) -> None:
        """Stop all streams and flush what they have seen."""
        self._stop.set()
        self._monitor.join()
        with ThreadPoolExecutor(self._max_streams) as threads:
            threads.map(_close, self.all())
        self._readers.close()

    def _require_stored(self, stream_id: str) -> Provenance:
        """Return the provenance of a stored stream. Raises UnknownStreamError."""
        unknown = UnknownStreamError(f"there is no stream {stream_id}")
        try:
            require_stream_id(stream_id)
        except StoreError:
            raise unknown from None
        if (found := find_stream(self._config.memory.store, stream_id)) is None:
            raise unknown
        return found.provenance

    def _watch_states(self) -> None:
        states: dict[StreamKeeper, StreamState] = {}
        trimmed_at = time.monotonic()
        while not self._stop.wait(_LOOK_S):
            if time.monotonic() - trimmed_at > _TRIM_S:
                return_free_memory()
                trimmed_at = time.monotonic()
            states = {keeper: self._report(keeper, states.get(keeper)) for keeper in self.all()}

    def _report(self, keeper: StreamKeeper, before: StreamState | None) -> StreamState:
        status = keeper.status
        if status.state != before:
            problem = status.problem
            self._events.publish(
                EventKind.STREAM_STATE,
                keeper.spec.id,
                {
                    "state": status.state.value,
                    "was": None if before is None else before.value,
                    "code": None if problem is None else problem.code,
                    "at": time.time(),
                },
            )
        return status.state


def _close(keeper: StreamKeeper) -> None:
    try:
        keeper.close()
    except (VStreamError, KVMemoryError) as error:
        _log.error("not all was kept", stream=keeper.spec.id, reason=str(error))
