"""Whole files: JSON with a CRC32, replaced whole or not; flushes, moves, how errors are told."""

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
def told(what: str, fix: str = "") -> Iterator[None]:
    """An OSError within as a StoreError that says what cannot be done and why."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror}{fix}") from error


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Replace the file, and return once that would survive a power cut. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(checked(content))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    flush_folder(path.parent)


def read_checked(path: Path) -> dict[str, Any]:
    """What was written.

    Raises OSError; ValueError if it is damaged. Format version 2 and those before had no CRC32.
    """
    return unchecked(path.read_text(encoding="utf-8"))


def checked(content: dict[str, Any]) -> str:
    """As JSON with a CRC32."""
    return json.dumps({**content, "crc32": _crc32(content)}, indent=2)


def unchecked(text: str | bytes) -> dict[str, Any]:
    """What was given to `checked`. Raises ValueError if it is damaged."""
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    is_old = content.get("format_version") in (1, 2) and "crc32" not in content
    if not is_old and content.pop("crc32", None) != _crc32(content):
        raise ValueError("it does not match its CRC32")
    return content


def flush_folder(folder: Path) -> None:
    """Let new, renamed and unlinked files survive a power cut; not what is in them. OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def set_aside(path: Path) -> Path:
    """Keep a damaged file where nothing reads it: its new name ends in `.damaged`. OSError."""
    names = (f"{path.name}{'' if n == 1 else f'.{n}'}.damaged" for n in count(1))
    aside = next(new for name in names if not (new := path.with_name(name)).exists())
    path.rename(aside)
    flush_folder(path.parent)
    return aside


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
