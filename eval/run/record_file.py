"""RecordFile: JSON documents in, one a line in a file that a killed run can go on with."""

import json
import os
from pathlib import Path
from typing import Any


class RecordFile:
    """Only appended to. The line that a killed run left unfinished is dropped."""

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
