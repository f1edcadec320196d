"""Records: everything a run that plays videos has on record, even after a kill at any moment.

A line of `answers/CONTENDER.jsonl` is a prediction as the scorers read it. It is on disk, not just
handed to the system, before the next question counts as asked.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eval.play.contender import DEFAULT, Contender
from eval.play.interview import PlayedAnswer
from eval.play.player import PlayRecord
from eval.play.watching import PlayedHours, PlayedWatch
from eval.run.cost import Cost
from eval.run.run_directory import RecordFile, RunDirectory

_ANSWERS = "answers"
_WATCHES = f"{DEFAULT}.watches"
_BESIDE = (".judgements", ".watches")
"""Suffixes of other records' files beside the answers."""


class Records:
    """Answers by contender, and what was reported with them. One process writes."""

    def __init__(self, directory: RunDirectory, contenders: Sequence[Contender]) -> None:
        self.directory = directory.path
        folder = self.directory / _ANSWERS
        folder.mkdir(exist_ok=True)
        found = [path.stem for path in sorted(folder.glob("*.jsonl"))]
        names = [one.name for one in contenders]
        names += [name for name in found if not name.endswith(_BESIDE) and name not in names]
        self.paths = {name: folder / f"{name}.jsonl" for name in names}
        """Of every contender that has answered, including in earlier starts."""
        self._answers = {name: RecordFile(path) for name, path in self.paths.items()}
        self._watches = directory.records(f"{_ANSWERS}/{_WATCHES}")
        self._costs = directory.records("watched")
        self._hours = directory.records("hours")

    @property
    def answers(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {
            name: {one["id"]: one for one in file.documents} for name, file in self._answers.items()
        }

    @property
    def costs(self) -> list[Cost]:
        return [Cost(**document) for document in self._costs.documents]

    @property
    def fired_s(self) -> dict[str, list[float]]:
        return {one["id"]: one["fired_s"] for one in self._watches.documents}

    @property
    def hours(self) -> list[dict[str, object]]:
        """What was kept of each video under each contender, the last time it was played."""
        played = {(one["contender"], one["video"]): one for one in self._hours.documents}
        return list(played.values())

    @property
    def failures(self) -> dict[str, int]:
        """By contender, how many questions have a text that could not be produced."""
        return {
            name: sum(None in one["texts"] for one in documents.values())
            for name, documents in self.answers.items()
        }

    @property
    def summary(self) -> str:
        """Where it is, and one line per contender on what failed and why."""
        where = f"answers, records and what was run: {self.directory}"
        return "\n".join([where, *self.warnings])

    @property
    def warnings(self) -> list[str]:
        """One line for each contender with failed answers, saying why."""
        lines = []
        for name, documents in self.answers.items():
            why = [said["error"] for one in documents.values() for said in one["said"]]
            errors = [error for error in why if error]
            for most, times in Counter(errors).most_common(1):
                lines.append(
                    f"warning: {name}: {len(errors)} texts could not be had; {times} times: {most}"
                )
        return lines

    def known(self, contender: Contender) -> frozenset[str]:
        standing = self.fired_s if contender.name == DEFAULT else ()
        return frozenset([*self.answers[contender.name], *standing])

    def take(self, told: PlayRecord) -> None:
        """Write to disk before the next question counts as asked."""
        if isinstance(told, PlayedAnswer):
            self._answers[told.policy].append(told.document(), to_disk=True)
            return
        files = {PlayedWatch: self._watches, PlayedHours: self._hours, Cost: self._costs}
        files[type(told)].append(asdict(told))
