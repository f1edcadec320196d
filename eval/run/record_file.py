"""Files of a run: records that a killed run goes on with, and files that are written whole."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class RecordFile:
    """JSON documents, one a line; only appended to. The unfinished line of a killed run is cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.documents: list[dict[str, Any]] = []
        if path.exists():
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(path, len(whole))
            self.documents = [json.loads(line) for line in whole.splitlines()]

    def append(self, document: dict[str, Any], *, to_disk: bool = False) -> None:
        """Add a line and hand it to the operating system; return once it is on the disk, if so."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document, allow_nan=False) + "\n")
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        self.documents.append(document)


def write_whole(path: Path, text: str) -> None:
    """Write beside, then replace: the file is the old or the new one, never a part of it."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_lines(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    """Write them all, one a line, instead of what was there."""
    lines = [json.dumps(document, allow_nan=False) + "\n" for document in documents]
    write_whole(path, "".join(lines))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Raises FileNotFoundError."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
