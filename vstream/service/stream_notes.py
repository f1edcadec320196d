"""StreamNotes: a store in, what services noted beside its streams out, by stream, to go on with."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from memory import (
    FoundStream,
    MemoryConfig,
    StoreAwayError,
    StoreError,
    find_stream,
    note_stored,
    stored_ids,
)
from vstream.service.stream_spec import StreamSpec, kept_spec

_log = structlog.get_logger()
NOTE = "service"
"""Under this name the note of a stream holds what a service needs to go on with it."""
ABANDONED: dict[str, Any] = {"spec": None, "alerts": [], "firings": {}}
"""What is noted beside a stream with which no service is to go on."""
_DYING_S = 4.0
"""So long a stream of another process may seem to be watched by it, which was killed."""
_LOOK_S = 0.1


def service_note(note: Mapping[str, Any]) -> dict[str, Any]:
    """What a service noted, out of the whole `note` of a stream. An alert was a
    watch before 0.3.
    """
    noted = dict(note.get(NOTE, {}))
    old = [{**one, "spec": {**one["spec"], "told_as": "watch"}} for one in noted.pop("watches", [])]
    return {**noted, "alerts": old} if old else noted


class StreamNotes:
    """All calls raise StoreAwayError."""

    def __init__(self, config: MemoryConfig, not_read: Callable[[str, StoreError], None]) -> None:
        """`not_read` is told of each stream that cannot be read by itself: others can."""
        self._config = config
        self._not_read = not_read

    def all(self) -> dict[str, dict[str, Any]]:
        """By stream; empty where there is none."""
        notes = {}
        for stream_id in stored_ids(self._config.store):
            found = self._find(stream_id)
            if found is not None and found.note_lost:
                _log.error("what a service noted beside a stream is lost", stream=stream_id)
            notes[stream_id] = service_note(found.note) if found else {}
        return notes

    def left(self, notes: dict[str, dict[str, Any]], without: set[str]) -> list[StreamSpec]:
        """What a service watched that is no more, but for the streams `without`."""
        specs = []
        wait_until = time.monotonic() + _DYING_S
        for stream_id, note in notes.items():
            if stream_id in without or not note.get("spec"):
                continue
            found = self._find(stream_id)
            while found is not None and found.state == "live" and time.monotonic() < wait_until:
                time.sleep(_LOOK_S)  # who was killed still holds it, for as long as a lease
                found = self._find(stream_id)
            if found is None or found.state == "live":
                continue
            try:
                spec = kept_spec(note["spec"])
            except (KeyError, TypeError, ValueError) as error:
                _log.error("stream not understood", stream=stream_id, reason=str(error))
                continue
            if spec.id == stream_id:  # earlier versions kept several memories of one stream
                specs.append(spec)
        return specs

    def note_abandoned(self, stream_id: str) -> None:
        """No service that starts is to go on with this stream, which none watches. StoreError."""
        found = find_stream(self._config.store, stream_id)
        if found is not None and (noted := service_note(found.note)).get("spec"):
            values = {**noted, **ABANDONED}
            note_stored(self._config, stream_id, {**found.note, NOTE: values})

    def _find(self, stream_id: str) -> FoundStream | None:
        try:
            return find_stream(self._config.store, stream_id)
        except StoreAwayError:
            raise
        except StoreError as error:  # as one of a newer version
            self._not_read(stream_id, error)
            return None
