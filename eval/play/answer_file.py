"""AnswerFile: played answers in, one JSON line each on disk, also after a kill at any moment.

A line is a prediction as the scorers read them. It is on the disk, and not only handed to the
system, before the next question counts as asked.
"""

from pathlib import Path
from typing import Any

from eval.play.interview import PlayedAnswer
from eval.run.record_file import RecordFile


class AnswerFile:
    """Those of one contender. One process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RecordFile(path)
        self.documents: dict[str, dict[str, Any]] = {
            document["id"]: document for document in self._file.documents
        }
        """By the id of the question."""

    def append(self, answer: PlayedAnswer) -> None:
        document = answer.document()
        self._file.append(document, to_disk=True)
        self.documents[answer.id] = document


def answer_files(folder: Path) -> dict[str, AnswerFile]:
    """Of every contender that has answered, by name.

    A judge's replies, which may lie beside its answers, have a dot in their name.
    """
    paths = sorted(folder.glob("*.jsonl"))
    return {path.stem: AnswerFile(path) for path in paths if "." not in path.stem}
