"""Row: scores of items in, a line of a published table out: a mean, its standard error, a count."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from eval.clustered_error import Mark, Part, clustered_stderr, weighted_mean


@dataclass(frozen=True)
class Figure:
    """A mean with its error, clustered by video; in percent, or in the unit that its row says."""

    value: float
    stderr: float | None
    num_questions: int


@dataclass(frozen=True)
class Row:
    """One quantity by the published rule and by the strict one; None: it cannot be had."""

    name: str
    published: Figure | None
    strict: Figure | None
    unit: str = "%"


def figure(parts: Sequence[Part], scale: float = 100.0) -> Figure | None:
    """The weighted mean of the parts' means; None if a part is empty, or there is none."""
    if not parts or not all(part.marks for part in parts):
        return None
    stderr = clustered_stderr(parts)
    return Figure(
        scale * weighted_mean(parts),
        None if stderr is None else scale * stderr,
        sum(len(part.marks) for part in parts),
    )


def marks_of(pairs: Sequence[tuple[str, float | None]]) -> list[Mark]:
    """Marks of (video, score), without those that have no score."""
    return [Mark(video, score) for video, score in pairs if score is not None]


def rows_document(rows: Sequence[Row]) -> dict[str, object]:
    """For a JSON document: a row's name -> its figures, rounded to what a table prints."""
    return {
        row.name: {
            "unit": row.unit,
            "published": _figure_document(row.published),
            "strict": _figure_document(row.strict),
        }
        for row in rows
    }


def rich_table(title: str, rows: Sequence[Row]) -> Table:
    """For a person."""
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("unit", "published", "strict", "questions"):
        table.add_column(column, justify="right")
    for row in rows:
        counted = row.published or row.strict
        cells = _cell(row.published), _cell(row.strict)
        table.add_row(row.name, row.unit, *cells, str(counted.num_questions) if counted else "-")
    return table


def _cell(found: Figure | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:.2f}" + ("" if found.stderr is None else f" ± {found.stderr:.2f}")


def _figure_document(found: Figure | None) -> dict[str, object] | None:
    if found is None:
        return None
    return {
        "value": round(found.value, 4),
        "stderr": None if found.stderr is None else round(found.stderr, 4),
        "questions": found.num_questions,
    }
