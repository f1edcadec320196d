"""StreamDirectory: the folder of one stream on disk, with its lock and its stream.json.

DIR/STREAM_ID/stream.json what made the blocks, and the caller's note DIR/STREAM_ID/stream-copy.json
a copy, read if the first is damaged DIR/STREAM_ID/segments/ the blocks (see file_tier)
DIR/STREAM_ID/segments.json the list of segments (see segment_list) DIR/STREAM_ID/writer.lock held
by the one process that writes

If both are damaged, the head of any block says what made them, and the note is lost.
"""

import fcntl
import os
import shutil
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from memory.block_info import Provenance
from memory.errors import BlockNotFoundError, StoreError
from memory.fault import Fault
from memory.stream_entry import StreamEntry
from memory.tiers.file.file_tier import aside_folder, newest_segments, segment_path
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.whole_files import read_checked, set_aside, store_errors, write_checked

FORMAT_VERSION = 3
"""Version 1 kept the codec of all blocks here, and the blocks in one file; version 2 had neither
CRC32 nor copy. Opening a stream upgrades both.
"""
_NAMES = "stream.json", "stream-copy.json"
_BLOCKS_V1 = "blocks.vskv"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Description:
    """The contents of `stream.json`; `note_lost` if it and its copy were damaged."""

    version: int
    provenance: Provenance
    note: dict[str, Any]
    note_lost: bool = False


class StreamDirectory(StreamEntry):
    """Holds the writer's lock from construction until `close`."""

    def __init__(self, path: Path, provenance: Provenance | None) -> None:
        """Create the folder, or check that its stream has this provenance (None: any).

        Raises FingerprintMismatchError; StoreError if the folder cannot be written, is being
        written by another process, or was written by a newer version.
        """
        self.path = path
        self.note: dict[str, Any] = {}
        self.failure: StoreError | None = None
        if provenance is None and not any((path / name).exists() for name in _NAMES):
            raise StoreError(f"{path}: there is no such stream")
        fix = "; choose a directory that this user may write"
        with store_errors(f"{path}: cannot be used for a stream", fix):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._take_lock()
            self.provenance = self._open_descriptions(provenance)
        except BaseException:
            self.close()
            raise

    def set_note(self, note: dict[str, Any]) -> None:
        """Replace the caller's note (JSON) atomically, and wait for the disk."""
        self._write(self.provenance, note)
        self.note = note

    def forget_undated(self) -> None:
        """Delete what was set aside: nobody can say which moments it shows."""
        with store_errors(f"{self.path}: what was set aside cannot be deleted"):
            if aside_folder(self.path).exists():
                shutil.rmtree(aside_folder(self.path))

    def erase(self) -> None:
        """Remove the folder and everything in it."""
        with store_errors(f"{self.path}: cannot be deleted"):
            for name in reversed(_NAMES):  # without them it is no stream
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path)

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

    def _open_descriptions(self, wanted: Provenance | None) -> Provenance:
        described = read_description(self.path)
        if described is None:
            assert wanted is not None
            self._write(wanted, {})
            return wanted
        provenance, self.note = described.provenance, described.note
        if wanted is not None:
            wanted.require_same(provenance, str(self.path))
        try:
            if (self.path / _BLOCKS_V1).exists():  # make it the first segment
                segments_folder(self.path).mkdir(exist_ok=True)
                (self.path / _BLOCKS_V1).rename(segment_path(segments_folder(self.path), 0, 0))
            found = [self._sound_or_aside(self.path / name) for name in _NAMES]
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be brought up to date: {error}") from error
        if described.note_lost:
            _log.error("what was noted beside a stream is lost", stream=str(self.path))
        if None in found or found[0] != found[1] or described.version < FORMAT_VERSION:
            self._write(provenance, self.note)
        return provenance

    def _sound_or_aside(self, path: Path) -> Description | None:
        """Return None if none can be read; a damaged one is renamed."""
        try:
            return _parsed(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            aside = set_aside(path, aside_folder(self.path))
            _log.error("a damaged file is set aside", file=str(aside), reason=str(error))
            return None

    def _write(self, provenance: Provenance, note: dict[str, Any]) -> None:
        content = {"format_version": FORMAT_VERSION, **asdict(provenance), "note": note}
        for name in reversed(_NAMES):  # the first one counts
            with store_errors(f"{self.path / name}: cannot be written"):
                write_checked(self.path / name, content)


def segments_folder(path: Path) -> Path:
    """Return where the stream in that folder has its blocks."""
    return path / "segments"


def list_of_segments(path: Path) -> Path:
    """Return where the stream in that folder lists its segments."""
    return path / "segments.json"


def stream_folders(folder: Path) -> list[Path]:
    """Return the folders of a store's streams, sorted by id. Raises OSError."""
    return sorted({path.parent for name in _NAMES for path in folder.glob(f"*/{name}")})


def read_description(path: Path) -> Description | None:
    """Return what is known of the stream in that folder, None without one; changes nothing.

    Raises StoreError if it cannot be read or was written by a newer version.
    """
    damage = None
    for name in _NAMES:
        try:
            return _parsed(path / name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{path / name}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            damage = f"{path / name}: is not a description of a stream ({error})"
    if damage is None:
        return None
    provenance = _provenance_of_blocks(path)
    if provenance is None:
        raise StoreError(f"{damage}; restore it from a copy or choose another stream id")
    version = 1 if (path / _BLOCKS_V1).exists() else FORMAT_VERSION
    return Description(version, provenance, {}, note_lost=True)


def faults_of_descriptions(path: Path, is_live: bool) -> list[Fault]:
    """Return what is wrong with the descriptions of the stream in that folder.

    While it is live, one of them may be newer. Raises StoreError if they cannot be read.
    """
    found, faults = [], []
    for name in _NAMES:
        try:
            found.append(_parsed(path / name))
        except FileNotFoundError:
            faults.append(Fault(f"{path / name}: is missing"))
        except OSError as error:
            faults.append(Fault(f"{path / name}: cannot be read: {error.strerror}"))
        except ValueError as error:
            faults.append(Fault(f"{path / name}: is damaged ({error})"))
    if not found:
        faults.append(Fault(f"{path}: what was noted beside the stream is lost"))
    if len(found) > 1 and found[0] != found[1] and not is_live:
        faults.append(Fault(f"{path / _NAMES[1]}: differs from {_NAMES[0]}, which counts"))
    return faults


def _parsed(path: Path) -> Description:
    """Parse a description. Raises OSError; ValueError if damaged; StoreError if it is newer."""
    try:
        stored = read_checked(path)
        version = stored.pop("format_version")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{path}: has format version {version}, this vstream reads up to "
                f"version {FORMAT_VERSION}; open it with the newer vstream that wrote it"
            )
        note = stored.pop("note")
        if version == 1:
            stored.pop("codec")
        return Description(version, Provenance(**stored), note)
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def _provenance_of_blocks(path: Path) -> Provenance | None:
    """Return what made the first readable block."""
    segments = segments_folder(path)
    files = list(newest_segments(segments).values()) if segments.is_dir() else []
    for file in [path / _BLOCKS_V1, *files]:
        with closing(SegmentFile(file, 0, read_only=True)) as segment:
            try:
                makes = (head.provenance for head in segment.scan())
                return next(make for make in makes if make.is_whole)
            except (StopIteration, BlockNotFoundError):
                continue
    return None
