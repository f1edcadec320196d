"""StreamDirectory: the folder of one stream on disk; its lock and its stream.json in and out.

DIR/STREAM_ID/stream.json   what made the blocks, and the caller's note
DIR/STREAM_ID/segments/     the blocks (see file_tier)
DIR/STREAM_ID/writer.lock   held by the one process that writes
"""

import fcntl
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory.errors import StoreError
from memory.file_store.flush_folder import flush_folder
from memory.stream_make import StreamMake

FORMAT_VERSION = 2
"""Version 1 kept the codec of all blocks here, and the blocks in one file; it is brought up to
date when it is opened.
"""


class StreamDirectory:
    """Holds the writer's lock from construction until `close`."""

    def __init__(self, path: Path, make: StreamMake | None) -> None:
        """Create the folder, or check that what it holds is of this make (None: of any).

        Raises FingerprintMismatchError; StoreError if the folder cannot be written, is being
        written by someone else, or was written by a newer version.
        """
        self.path = path
        self.note: dict[str, Any] = {}
        self.failure: StoreError | None = None
        self._stream_json = path / "stream.json"
        if make is None and not self._stream_json.exists():
            raise StoreError(f"{path}: there is no such stream")
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
            self.make = self._open_stream_json(make)
        except BaseException:
            self.close()
            raise

    @property
    def segments_path(self) -> Path:
        return segments_folder(self.path)

    def set_note(self, note: dict[str, Any]) -> None:
        """Replace the caller's note (JSON), whole or not at all, and wait for the disk."""
        self._write(self.make, note)
        self.note = note

    def erase(self) -> None:
        """Remove the folder with all that is in it."""
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be deleted: {error.strerror}") from error

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{self.path}: is being written, by another process or another memory of this "
                "one; stop that first or choose another stream id"
            ) from None
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be locked: {error.strerror}") from error

    def _open_stream_json(self, wanted: StreamMake | None) -> StreamMake:
        described = read_description(self.path)
        if described is None:
            assert wanted is not None
            self._write(wanted, {})
            return wanted
        version, make, self.note = described
        if wanted is not None:
            wanted.require_same(make, str(self.path))
        if version == 1:
            self._bring_up_to_date(make)
        return make

    def _bring_up_to_date(self, make: StreamMake) -> None:
        """The one file of version 1 becomes the first segment."""
        try:
            self.segments_path.mkdir(exist_ok=True)
            blocks = self.path / "blocks.vskv"
            if blocks.exists():
                blocks.rename(self.segments_path / f"{0:012d}-{0:06d}.vskv")
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be brought up to date: {error}") from error
        self._write(make, self.note)

    def _write(self, make: StreamMake, note: dict[str, Any]) -> None:
        content = {"format_version": FORMAT_VERSION, **asdict(make), "note": note}
        partial = self._stream_json.with_suffix(".json.partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=2))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._stream_json)
            flush_folder(self.path)
        except OSError as error:
            raise StoreError(f"{self._stream_json}: cannot be written: {error.strerror}") from error


def segments_folder(path: Path) -> Path:
    """Where the stream in that folder has its blocks."""
    return path / "segments"


def read_description(path: Path) -> tuple[int, StreamMake, dict[str, Any]] | None:
    """Format version, make and note of the stream in that folder; None if there is none.

    Raises StoreError if it cannot be read or was written by a newer version.
    """
    stream_json = path / "stream.json"
    try:
        stored = json.loads(stream_json.read_text(encoding="utf-8"))
        version = stored.pop("format_version")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{stream_json}: has format version {version}, this vstream reads up to "
                f"version {FORMAT_VERSION}; open it with the newer vstream that wrote it"
            )
        note = stored.pop("note")
        if version == 1:
            stored.pop("codec")
        return version, StreamMake(**stored), note
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{stream_json}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{stream_json}: is not a description of a stream ({error}); restore it from "
            "a copy or choose another stream id"
        ) from error
