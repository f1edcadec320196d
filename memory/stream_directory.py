"""StreamDirectory: the folder of one stream on disk; its lock and its stream.json in and out.

DIR/STREAM_ID/stream.json   what made the blocks, and the caller's note
DIR/STREAM_ID/blocks.vskv   the blocks (see file_tier)
DIR/STREAM_ID/writer.lock   held by the one process that writes
"""

import fcntl
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory.errors import StoreError
from memory.stream_make import StreamMake

FORMAT_VERSION = 1


class StreamDirectory:
    """Holds the writer's lock from construction until `close`."""

    def __init__(self, path: Path, make: StreamMake) -> None:
        """Create the folder, or check that what it holds is of this make.

        Raises FingerprintMismatchError; StoreError if the folder cannot be written, is being
        written by someone else, or was written by a newer version.
        """
        self.path = path
        self.note: dict[str, Any] = {}
        self._make = make
        self._stream_json = path / "stream.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be used for a stream: {error.strerror}; choose a directory that "
                "this user may write"
            ) from error
        try:
            self._take_lock()
            self._open_stream_json()
        except BaseException:
            self.close()
            raise

    @property
    def blocks_path(self) -> Path:
        return self.path / "blocks.vskv"

    def set_note(self, note: dict[str, Any]) -> None:
        """Replace the caller's note (JSON), whole or not at all, and wait for the disk."""
        self._write(note)
        self.note = note

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{self.path}: is open in another memory, of this process or another one; close "
                "that first or choose another stream id"
            ) from None
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be locked: {error.strerror}") from error

    def _open_stream_json(self) -> None:
        try:
            text = self._stream_json.read_text(encoding="utf-8")
        except FileNotFoundError:
            self._write({})
            return
        except OSError as error:
            raise StoreError(f"{self._stream_json}: cannot be read: {error.strerror}") from error
        try:
            stored = json.loads(text)
            version = stored.pop("format_version")
            if version > FORMAT_VERSION:
                raise StoreError(
                    f"{self._stream_json}: has format version {version}, this vstream reads up to "
                    f"version {FORMAT_VERSION}; open it with the newer vstream that wrote it"
                )
            self.note = stored.pop("note")
            stored_make = StreamMake(**stored)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self._stream_json}: is not a description of a stream ({error}); restore it from "
                "a copy or choose another stream id"
            ) from error
        self._make.require_same(stored_make, str(self.path))

    def _write(self, note: dict[str, Any]) -> None:
        content = {"format_version": FORMAT_VERSION, **asdict(self._make), "note": note}
        partial = self._stream_json.with_suffix(".json.partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._stream_json)
            _fsync_directory(self.path)
        except OSError as error:
            raise StoreError(f"{self._stream_json}: cannot be written: {error.strerror}") from error


def _fsync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
