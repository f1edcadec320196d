"""AnswerFile: played answers in, one JSON line each on disk, also after a kill at any moment.

A line is a prediction as the scorers read them. It is on the disk, and not only handed to the
system, before the next question counts as asked.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.play.interview import PlayedAnswer
from eval.run.record_file import RecordFile

_BESIDE = (".judgements", ".watches")
"""Files of other records that lie beside the answers."""


class AnswerFile:
    """Those of one contender. One process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = RecordFile(path)
        self.documents: dict[str, dict[str, Any]] = {one["id"]: one for one in self._file.documents}
        """By the id of the question."""

    def append(self, answer: PlayedAnswer) -> None:
        document = answer.document()
        self._file.append(document, to_disk=True)
        self.documents[answer.id] = document


def answer_files(folder: Path) -> dict[str, AnswerFile]:
    """Of every contender that has answered, by name."""
    paths = sorted(path for path in folder.glob("*.jsonl") if not path.stem.endswith(_BESIDE))
    return {path.stem: AnswerFile(path) for path in paths}


def warnings_of(answers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """For each contender of whose `answers` some could not be had a line that says why."""
    lines = []
    for name, documents in answers.items():
        why = [said["error"] for one in documents.values() for said in one["said"]]
        errors = [error for error in why if error]
        for most, times in Counter(errors).most_common(1):
            lines.append(
                f"warning: {name}: {len(errors)} texts could not be had; {times} times: {most}"
            )
    return lines
