"""Report: scores in, tables for a person and a JSON document for a program out."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.etbench.scores import MERGED, OVERALL, Scores


def document(scores: Scores) -> dict[str, Any]:
    """The score under the official names."""
    return {
        "merged_unrounded": scores.merged,
        "overall": scores.overall,
        "by_task_source": scores.by_task_source,
        "unanswered": scores.num_unanswered,
    }


def tables(scores: Scores) -> RenderableType:
    """Merged and overall numbers in percent, the sources, and how many have no answer."""
    parts: list[RenderableType] = [_summary(scores), _sources(scores)]
    if scores.num_unanswered:
        parts.append(Text(f"{scores.num_unanswered} annotated samples have no answer"))
    return Group(*parts)


def _summary(scores: Scores) -> Table:
    table = _table("E.T. Bench", "percent")
    for name, parts in MERGED.items():
        table.add_row(name, _percent(scores.merged[name]), style="bold")
        for part in parts:
            table.add_row(f"  {part}", _percent(scores.overall[part], 100))
    return table


def _sources(scores: Scores) -> Table:
    table = _table("by task and source", "samples", "failed", "figure", "percent")
    names: dict[str, str] = {**dict(OVERALL.values()), "dvc": "F1", "slc": "F1"}
    for task, sources in scores.by_task_source.items():
        for source, figures in sources.items():
            counts = str(figures["Total"]), str(figures["Failed"])
            found = _percent(figures[names[task]], 100)
            table.add_row(f"{task} {source}", *counts, names[task], found)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(number: float | None, scale: float = 1.0) -> str:
    return "-" if number is None else f"{scale * number:.1f}"
