"""StreamNotes: reads what services noted beside the streams of a store, to continue with them."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from memory import (
    FoundStream,
    MemoryConfig,
    StoreError,
    find_stream,
    find_streams,
    note_stored,
)
from vstream.service.stream_spec import StreamSpec, kept_spec

_log = structlog.get_logger()
NOTE = "service"
"""The name in a stream's note for what a service needs to continue with it."""
ABANDONED: dict[str, Any] = {"spec": None, "alerts": [], "firings": {}}
"""The note of a stream that no service should continue with."""
_DYING_S = 4.0
"""How long a stream may seem to be watched by a process that was killed."""
_LOOK_S = 0.1


def service_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """Return the service's part of a stream's `note`. Before 0.3 an alert was a watch."""
    noted = dict(note.get(NOTE, {}))
    old = [{**one, "spec": {**one["spec"], "told_as": "watch"}} for one in noted.pop("watches", [])]
    return {**noted, "alerts": old} if old else noted


@dataclass(frozen=True)
class StreamNote:
    """What services noted beside a stream, and whether a process writes it now."""

    stream_id: str
    noted: dict[str, Any]
    """See `service_note`."""
    is_live: bool
    writer: str | None
    """That process, HOST:PID, if the store knows it."""
    configured: StreamSpec | None = None
    """Its spec in the configuration, which is kept nowhere else: passwords stay there."""

    @property
    def is_wanted(self) -> bool:
        """Whether a service should watch it. Earlier versions kept several memories of one stream,
        all with its note.
        """
        if self.configured is not None:
            return True
        spec = self.noted.get("spec")
        return bool(spec) and (not isinstance(spec, dict) or spec.get("id") == self.stream_id)

    @property
    def paused(self) -> bool:
        return self.noted.get("paused") is True

    @property
    def spec(self) -> StreamSpec:
        """How a service should watch it. Raises StoreError if the note cannot be read."""
        if self.configured is not None:
            return self.configured
        try:
            return kept_spec(self.noted["spec"])
        except (KeyError, TypeError, ValueError) as error:
            why = f"the note of a service beside stream {self.stream_id} cannot be read: {error}"
            raise StoreError(why) from error


class StreamNotes:
    """Safe from any thread. All methods raise StoreAwayError."""

    def __init__(
        self,
        config: MemoryConfig,
        configured: Iterable[StreamSpec],
        not_read: Callable[[str, StoreError], None],
    ) -> None:
        """`not_read` is called once for each stream that cannot be read although others can."""
        self._config = config
        self._configured = {spec.id: spec for spec in configured}
        self._not_read = not_read
        self._reported: set[str] = set()

    def all(self) -> dict[str, StreamNote]:
        """Return all notes by stream, in a few round trips, including configured streams that are
        not stored yet. A stream that cannot be read is left out.
        """
        notes = {
            stream_id: StreamNote(stream_id, {}, False, None, spec)
            for stream_id, spec in self._configured.items()
        }
        for stream_id, found in find_streams(self._config.store).items():
            if isinstance(found, FoundStream):
                notes[stream_id] = self._of(stream_id, found)
                continue
            notes.pop(stream_id, None)
            if stream_id not in self._reported:  # for example one of a newer version
                self._reported.add(stream_id)
                self._not_read(stream_id, found)
        return notes

    def find(self, stream_id: str) -> StreamNote | None:
        """Raises StoreError."""
        found = find_stream(self._config.store, stream_id)
        if found is not None:
            return self._of(stream_id, found)
        spec = self._configured.get(stream_id)
        return None if spec is None else StreamNote(stream_id, {}, False, None, spec)

    def left(self) -> list[StreamNote]:
        """Return streams, in no configuration, whose service has ended. A service that was killed
        still holds them for as long as a lease lasts.
        """
        wait_until = time.monotonic() + _DYING_S
        while True:
            wanted = [
                note for note in self.all().values() if note.is_wanted and note.configured is None
            ]
            if time.monotonic() > wait_until or not any(note.is_live for note in wanted):
                return [note for note in wanted if not note.is_live]
            time.sleep(_LOOK_S)

    def note_abandoned(self, stream_id: str) -> None:
        """Keep services from continuing with a stream that none watches. Raises StoreError."""
        found = find_stream(self._config.store, stream_id)
        if found is not None and (noted := service_note(found.note)).get("spec"):
            values = {**noted, **ABANDONED}
            note_stored(self._config, stream_id, {**found.note, NOTE: values})

    def _of(self, stream_id: str, found: FoundStream) -> StreamNote:
        if found.note_lost and stream_id not in self._reported:
            self._reported.add(stream_id)
            _log.error("the note of a service beside a stream is lost", stream=stream_id)
        live = found.state == "live"
        spec = self._configured.get(stream_id)
        return StreamNote(stream_id, service_note(found.note), live, found.writer, spec)
