"""checked_json: facts in, a small file with their CRC32 out, and back; replaced whole or not."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

from memory.tiers.file.flush_folder import flush_folder


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Replace the file, and return once that would survive a power cut. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps({**content, "crc32": _crc32(content)}, indent=2))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    flush_folder(path.parent)


def read_checked(path: Path) -> dict[str, Any]:
    """What was written.

    Raises OSError; ValueError if it is damaged. Format version 2 and those before had no CRC32.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    is_old = content.get("format_version") in (1, 2) and "crc32" not in content
    if not is_old and content.pop("crc32", None) != _crc32(content):
        raise ValueError("it does not match its CRC32")
    return content


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
