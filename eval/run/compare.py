"""`python -m eval compare RUN RUN` compares the answers of two runs question by question."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from eval.command_line import AsJson, refusals
from eval.result_table import NOTHING, ResultTable, percent_cell, show, show_document
from eval.run.paired import Paired, paired
from eval.run.scored import Scored, read_scored
from vstream import SettingsError

_EXAMPLES = 3
_ASKED = attrgetter("video", "question", "truth", "asked_s")


@dataclass(frozen=True)
class Comparison:
    """The names of what is compared, and the result."""

    before: str
    after: str
    paired: Paired


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a run's directory, optionally with the one policy to compare."""

    run: Path
    policy: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Side":
        """Parse `RUN` or `RUN:POLICY`; a directory may have colons in its name."""
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
    """Compare policies of the same name; two single ones with each other, whatever their names.
    Raises SettingsError if there is nothing to compare or the questions differ.
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
    """Raises SettingsError unless both answer exactly the same questions."""
    mine = {record.question_id: record for record in before}
    other = {record.question_id: record for record in after}
    both = [name for name in mine if name in other]
    problems = {
        "asked only in the first": [name for name in mine if name not in other],
        "asked only in the second": [name for name in other if name not in mine],
        "under one id different questions, moments or true answers": [
            name for name in both if _ASKED(mine[name]) != _ASKED(other[name])
        ],
    }
    if any(problems.values()):
        named = "; ".join(_named(what, names) for what, names in problems.items() if names)
        raise SettingsError(
            f"{labels[0]} and {labels[1]} answer different questions, so they cannot be compared: "
            + named
        )
    return [(mine[name], other[name]) for name in both]


def _named(what: str, names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _EXAMPLES else ""
    return f"{len(names)} {what} ({', '.join(names[:_EXAMPLES])}{more})"


def compare_runs(
    before: Annotated[str, typer.Argument(metavar="RUN[:POLICY]", help="The directory of a run.")],
    after: Annotated[str, typer.Argument(metavar="RUN[:POLICY]", help="The other one.")],
    show_changes: Annotated[
        int,
        typer.Option("--show", min=0, help="List so many of the questions whose score changed."),
    ] = 40,
    as_json: AsJson = False,
) -> None:
    """The difference of two runs, question by question, with a paired test."""
    with refusals():
        found = compare(Side.parse(before), Side.parse(after))
    changed = [one for one in found if show_changes and one.paired.changes]
    show([_differences(found), *(_changes(one, show_changes) for one in changed)])
    if as_json:
        show_document([_document(one) for one in found])


def _differences(found: Iterable[Comparison]) -> ResultTable:
    return ResultTable(
        "percent right; the difference ± its standard error, paired, clustered by video",
        (
            *("first", "second", "first %", "second %", "difference", "better", "worse"),
            *("questions", "videos", "p, videos' signs flipped", "p, McNemar*"),
        ),
        tuple((one.before, one.after, *_cells(one.paired)) for one in found),
        ("* takes questions about one video for independent: too small where they are not",),
    )


def _cells(found: Paired) -> tuple[str, ...]:
    sign = "+" if found.difference >= 0 else ""
    counts = found.num_better, found.num_worse, found.num_questions, found.num_videos
    return (
        *(f"{found.before_percent:.1f}", f"{found.after_percent:.1f}"),
        sign + percent_cell(found.difference, found.stderr),
        *map(str, counts),
        f"{found.flip_p:.3g}",
        NOTHING if found.mcnemar_p is None else f"{found.mcnemar_p:.3g}",
    )


def _changes(one: Comparison, most: int) -> ResultTable:
    """List those that got worse first, because readers look for them."""
    changes = sorted(one.paired.changes, key=lambda change: change.difference)[:most]
    return ResultTable(
        f"{one.before} -> {one.after}: {len(changes)} of the {len(one.paired.changes)} questions "
        "whose score changed",
        ("question", "task", "at, s", "asked", "true", "first", "second", "score"),
        tuple(
            (
                *(was.question_id, was.task),
                "end" if was.asked_s is None else f"{was.asked_s:g}",
                *(was.question, was.truth, was.given, now.given),
                f"{was.score:g} -> {now.score:g}",
            )
            for was, now in ((change.before, change.after) for change in changes)
        ),
        has_words=True,
    )


def _document(one: Comparison) -> dict[str, object]:
    result = one.paired
    return {
        "first": one.before,
        "second": one.after,
        "first_percent": round(result.before_percent, 4),
        "second_percent": round(result.after_percent, 4),
        "difference": round(result.difference, 4),
        "stderr": None if result.stderr is None else round(result.stderr, 4),
        "p": result.flip_p,
        "mcnemar_p": result.mcnemar_p,
        "better": result.num_better,
        "worse": result.num_worse,
        "questions": result.num_questions,
        "videos": result.num_videos,
        "changed": [
            {
                **{k: getattr(c.before, k) for k in ("question_id", "task", "question", "truth")},
                "first": c.before.given,
                "second": c.after.given,
                "difference": c.difference,
            }
            for c in result.changes
        ],
    }
