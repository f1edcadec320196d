"""Whole files: JSON with a CRC32, replaced atomically; flushing, renaming and reporting errors."""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from memory.errors import StoreError


@contextmanager
def store_errors(what: str, fix: str = "") -> Iterator[None]:
    """Turn an OSError within into a StoreError that says what failed and why."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}{fix}") from error


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Replace the file; return once that would survive a power cut. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(checked(content))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    flush_folder(path.parent)


def read_checked(path: Path) -> dict[str, Any]:
    """Read what was written.

    Raises OSError; ValueError if it is damaged. Format versions 1 and 2 had no CRC32.
    """
    return unchecked(path.read_bytes())


def checked(content: dict[str, Any]) -> str:
    """Return JSON with a CRC32."""
    return json.dumps({**content, "crc32": _crc32(content)}, indent=2)


def unchecked(text: str | bytes) -> dict[str, Any]:
    """Return what was passed to `checked`. Raises ValueError if it is damaged."""
    text = text if isinstance(text, str) else text.decode()
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    is_old = content.get("format_version") in (1, 2) and "crc32" not in content
    if not is_old and (content.pop("crc32", None) != _crc32(content) or text != checked(content)):
        raise ValueError("it does not match its CRC32")
    return content


def flush_folder(folder: Path) -> None:
    """Make new, renamed and unlinked files survive a power cut; not their contents. OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def append_whole(file: int, content: bytes) -> None:
    """Append all of it or nothing to a file that is open for appending. Raises OSError."""
    size = os.fstat(file).st_size
    try:
        while content:
            content = content[os.write(file, content) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def set_aside(path: Path, folder: Path) -> Path:
    """Move a damaged file into a folder where nothing reads it. Raises OSError."""
    aside = _free_name(folder, path.name)
    path.rename(aside)
    flush_folder(folder)
    flush_folder(path.parent)
    return aside


def keep_aside(data: bytes, name: str, folder: Path) -> None:
    """Keep what is about to be changed in a folder where nothing reads it. Raises OSError."""
    with _free_name(folder, name).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    flush_folder(folder)


def _free_name(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    names = (name if n == 1 else f"{name}.{n}" for n in count(1))
    return next(path for one in names if not (path := folder / one).exists())


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
