"""compare: two runs, or policies of runs, in; their answers to the same questions paired out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.run.paired import Paired, paired
from eval.run.scored import Scored, read_scored
from vstream import SettingsError

_EXAMPLES = 3


@dataclass(frozen=True)
class Comparison:
    """What is compared, by name, and what came of it."""

    before: str
    after: str
    paired: Paired


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a run's directory, perhaps with the one policy that counts."""

    run: Path
    policy: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Side":
        """`RUN` or `RUN:POLICY`; a directory may have colons in its name."""
        if Path(text).is_dir() or ":" not in text:
            return cls(Path(text))
        run, policy = text.rsplit(":", 1)
        return cls(Path(run), policy)

    def by_policy(self) -> dict[str, list[Scored]]:
        """Raises SettingsError for what is no run, and for a policy that is not in it."""
        try:
            records = read_scored(self.run)
        except (FileNotFoundError, NotADirectoryError):
            raise SettingsError(
                f"{self.run}: no run with scored questions is there; give the directory of a run, "
                "or RUN:POLICY"
            ) from None
        found: dict[str, list[Scored]] = {}
        for record in records:
            found.setdefault(record.policy, []).append(record)
        if self.policy is None:
            return found
        if self.policy not in found:
            raise SettingsError(
                f"{self.run}: has no policy {self.policy!r}; it has {', '.join(found)}"
            )
        return {self.policy: found[self.policy]}


def compare(before: Side, after: Side) -> list[Comparison]:
    """Every policy with its namesake; two single ones with each other, whatever their names.

    Raises SettingsError where there is nothing to compare or the questions are different ones.
    """
    mine, other = before.by_policy(), after.by_policy()
    names = [(name, name) for name in mine if name in other]
    if len(mine) == len(other) == 1:
        names = [(next(iter(mine)), next(iter(other)))]
    if not names:
        raise SettingsError(
            f"{before.run} has {', '.join(mine)}; {after.run} has {', '.join(other)}: no policy is "
            "in both; name one of each as RUN:POLICY"
        )
    found = []
    for first, second in names:
        labels = f"{before.run}:{first}", f"{after.run}:{second}"
        pairs = _pairs(mine[first], other[second], labels)
        found.append(Comparison(*labels, paired(pairs)))
    return found


def _pairs(
    before: Sequence[Scored], after: Sequence[Scored], labels: tuple[str, str]
) -> list[tuple[Scored, Scored]]:
    """Raises SettingsError unless both answer the very same questions."""
    mine = {record.question_id: record for record in before}
    other = {record.question_id: record for record in after}
    problems = [
        _said("asked only in the first", [name for name in mine if name not in other]),
        _said("asked only in the second", [name for name in other if name not in mine]),
        _said(
            "under one id different questions, moments or true answers",
            [n for n in mine if n in other and _asked(mine[n]) != _asked(other[n])],
        ),
    ]
    if any(problems):
        raise SettingsError(
            f"{labels[0]} and {labels[1]} answer different questions, so they cannot be compared: "
            + "; ".join(problem for problem in problems if problem)
        )
    return [(record, other[name]) for name, record in mine.items()]


def _asked(record: Scored) -> tuple[str, str, str, float | None]:
    return record.video, record.question, record.truth, record.asked_s


def _said(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _EXAMPLES else ""
    return f"{len(names)} {what} ({', '.join(names[:_EXAMPLES])}{more})"
