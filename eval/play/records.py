"""Records: everything a run that plays videos has on record, even after a kill at any moment.

A line of `answers/CONTENDER.jsonl` is a prediction as the scorers read it. It is on disk, not just
handed to the system, before the next question counts as asked.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from eval.play.contender import DEFAULT, Contender
from eval.run.cost import Cost
from eval.run.run_directory import RunDirectory

ANSWERS, COSTS, HOURS = "answers/", "watched", "hours"
WATCHES = f"{ANSWERS}{DEFAULT}.watches"
_BESIDE = (".judgements", ".watches")
"""Suffixes of other records' files beside the answers."""

RecordLine = tuple[str, dict[str, Any]]
"""A line, and the name of the file that it goes into: ANSWERS and a contender's, or another."""
Report = Callable[[RecordLine], None]


class Records:
    """Answers by contender, and what was reported with them. One process writes."""

    def __init__(self, directory: RunDirectory, contenders: Sequence[Contender]) -> None:
        self.directory = directory.path
        found = [path.stem for path in sorted(self.directory.glob(f"{ANSWERS}*.jsonl"))]
        names = [one.name for one in contenders]
        names += [name for name in found if not name.endswith(_BESIDE) and name not in names]
        self.paths = {name: self.directory / f"{ANSWERS}{name}.jsonl" for name in names}
        """Of every contender that has answered, including in earlier starts."""
        files = *(f"{ANSWERS}{name}" for name in names), WATCHES, COSTS, HOURS
        self._files = {name: directory.records(name) for name in files}

    @property
    def answers(self) -> dict[str, dict[str, dict[str, Any]]]:
        return {
            name: {one["id"]: one for one in self._files[f"{ANSWERS}{name}"].documents}
            for name in self.paths
        }

    @property
    def costs(self) -> list[Cost]:
        return [Cost(**document) for document in self._files[COSTS].documents]

    @property
    def fired_s(self) -> dict[str, list[float]]:
        return {one["id"]: one["fired_s"] for one in self._files[WATCHES].documents}

    @property
    def hours(self) -> list[dict[str, object]]:
        """What was kept of each video under each contender, the last time it was played."""
        played = {(one["contender"], one["video"]): one for one in self._files[HOURS].documents}
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

    def take(self, line: RecordLine) -> None:
        """Write to disk before the next question counts as asked."""
        name, document = line
        self._files[name].append(document, to_disk=name.startswith(ANSWERS))
