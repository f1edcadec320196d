"""`python -m eval compare RUN RUN`: two runs in, their paired difference and what changed out."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from eval.run.compare import Comparison, Side, compare
from eval.run.paired import Change
from vstream import VStreamError

_PLAIN_WIDTH = 200


def compare_runs(
    before: Annotated[str, typer.Argument(metavar="RUN[:POLICY]", help="The directory of a run.")],
    after: Annotated[str, typer.Argument(metavar="RUN[:POLICY]", help="The other one.")],
    show: Annotated[
        int, typer.Option(min=0, help="List so many of the questions whose score changed.")
    ] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """The difference of two runs, question by question, with a paired test."""
    try:
        found = compare(Side.parse(before), Side.parse(after))
    except VStreamError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(_differences(found))
    for one in found:
        if show and one.paired.changes:
            console.print(_changes(one, show))
    if as_json:
        document = [_document(one) for one in found]
        sys.stdout.write(f"{json.dumps(document, allow_nan=False)}\n")


def _differences(found: Sequence[Comparison]) -> Table:
    table = Table(
        title="percent right; the difference ± its standard error, paired, clustered by video",
        title_justify="left",
    )
    for title in ("first", "second"):
        table.add_column(title, overflow="fold")
    for title in (
        *("first %", "second %", "difference", "better", "worse", "questions", "videos"),
        *("p, videos' signs flipped", "p, McNemar*"),
    ):
        table.add_column(title, justify="right")
    for one in found:
        result = one.paired
        error = "" if result.stderr is None else f" ± {result.stderr:.1f}"
        table.add_row(
            one.before,
            one.after,
            f"{result.before_percent:.1f}",
            f"{result.after_percent:.1f}",
            f"{result.difference:+.1f}{error}",
            str(result.num_better),
            str(result.num_worse),
            str(result.num_questions),
            str(result.num_videos),
            f"{result.flip_p:.3g}",
            "-" if result.mcnemar_p is None else f"{result.mcnemar_p:.3g}",
        )
    table.caption = (
        "* takes questions about one video for independent: too small where they are not"
    )
    return table


def _changes(one: Comparison, show: int) -> Table:
    """Those that got worse first: they are what one looks for."""
    changes = sorted(one.paired.changes, key=lambda change: change.difference)[:show]
    table = Table(
        title=f"{one.before} -> {one.after}: {len(changes)} of the {len(one.paired.changes)} "
        "questions whose score changed",
        title_justify="left",
    )
    for title in ("question", "task", "at, s", "asked", "true", "first", "second", "score"):
        table.add_column(title, overflow="fold")
    for change in changes:
        first, second = change.before, change.after
        table.add_row(
            first.question_id,
            first.task,
            "end" if first.asked_s is None else f"{first.asked_s:g}",
            first.question,
            first.truth,
            first.given,
            second.given,
            f"{first.score:g} -> {second.score:g}",
        )
    return table


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
        "changed": [_changed(change) for change in result.changes],
    }


def _changed(change: Change) -> dict[str, object]:
    first, second = change.before, change.after
    return {
        "question_id": first.question_id,
        "task": first.task,
        "question": first.question,
        "truth": first.truth,
        "first": first.given,
        "second": second.given,
        "difference": change.difference,
    }
