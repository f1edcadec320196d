"""Figures: what was measured in, tables for a person and one JSON document for a program out."""

import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

Value = float | str | None
Row = Mapping[str, Value]
"""By name; the name of a figure ends with its unit."""
Figures = Mapping[str, Sequence[Row]]
"""Rows of like figures by what they are about."""

_WIDTH = 160
"""Where stdout is no terminal."""


def show(figures: Figures, as_json: bool) -> None:
    """Print each table, and the document if it is wanted."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    for title, rows in figures.items():
        if rows:
            console.print(_table(title, rows))
    if as_json:
        rounded = {
            title: [{name: _rounded(value) for name, value in row.items()} for row in rows]
            for title, rows in figures.items()
        }
        sys.stdout.write(f"{json.dumps(rounded, allow_nan=False)}\n")


def _table(title: str, rows: Sequence[Row]) -> Table:
    """A single row stands upright."""
    if len(rows) == 1:
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows[0].items():
            table.add_row(_words(name), _cell(value))
        return table
    table = Table(*map(_words, rows[0]), title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _words(name: str) -> str:
    return name.replace("_", " ")


def _rounded(value: Value) -> Value:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _cell(value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:,.0f}"
    return value if isinstance(value, str) else f"{value:,}"
