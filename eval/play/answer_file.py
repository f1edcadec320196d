"""AnswerFile: played answers in, one JSON line each on disk, also after a kill at any moment.

A line is a prediction as the scorers read them. It is on the disk, and not only handed to the
system, before the next question counts as asked; half a line at the end, which a killed run left,
is dropped.
"""

import json
import os
from pathlib import Path
from typing import Any

from eval.play.interview import PlayedAnswer


class AnswerFile:
    """Those of one contender. One process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.documents: dict[str, dict[str, Any]] = {}
        """By the id of the question."""
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            document = json.loads(line)
            self.documents[document["id"]] = document

    def append(self, answer: PlayedAnswer) -> None:
        document = answer.document()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.documents[answer.id] = document
