"""ResultTable: one table of text, for terminals, Markdown and HTML pages."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

NOTHING = "-"
_PLAIN_WIDTH = 200


@dataclass(frozen=True)
class ResultTable:
    """The first column names the rows. Without column names it has no header."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    has_words: bool = False
    """Its cells are text to read: left-aligned and wrapped."""

    @classmethod
    def of(
        cls, title: str, rows: Mapping[str, Mapping[str, object]], *notes: str, corner: str = ""
    ) -> "ResultTable":
        """Make a table of named rows that have the same figures, at least one row; without columns
        in which all are None. `corner` stands above the names.
        """
        first, *others = rows.values()
        columns = [one for one in first if any(row[one] is not None for row in (first, *others))]
        cells = (
            (name, *(NOTHING if row[one] is None else str(row[one]) for one in columns))
            for name, row in rows.items()
        )
        return cls(title, (corner, *columns), tuple(cells), notes)

    def rich(self) -> Table:
        caption = "\n".join(self.notes) or None
        table = Table(
            title=self.title, title_justify="left", caption=caption, show_header=any(self.columns)
        )
        for number, column in enumerate(self.columns):
            if self.has_words:
                table.add_column(column, overflow="fold")
            else:
                table.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> list[str]:
        """Return its lines, with the title as a heading."""

        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        rule = ("---", *("---:" for _ in self.columns[1:]))
        lines = [line(self.columns), line(rule), *map(line, self.rows), ""]
        notes = [f"- {note}" for note in self.notes] + [""] * bool(self.notes)
        return [f"## {self.title}", "", *lines, *notes]


def show(tables: Iterable[ResultTable], *more: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for table in tables:
        console.print(table.rich())
    for line in more:
        console.print(line)


def show_document(document: object) -> None:
    sys.stdout.write(f"{json.dumps(document, allow_nan=False)}\n")


def percent_cell(percent: float, stderr: float | None, digits: int = 1) -> str:
    """Return a mean, with its standard error if that is known."""
    error = "" if stderr is None else f" ± {stderr:.{digits}f}"
    return f"{percent:.{digits}f}{error}"
