"""speed_command: turns a function that measures Figures into a command that prints them."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from eval.command_line import AsJson, refusals, take_options
from eval.result_table import NOTHING, ResultTable, show, show_document

Value = float | str | None
Row = Mapping[str, Value]
"""By name; the name of a figure ends with its unit."""
Figures = Mapping[str, Sequence[Row]]
"""Rows of similar figures, by subject."""


def speed_command(measure: Callable[..., Figures]) -> Callable[..., None]:
    """Return a command with the options of `measure`, and `--json`."""

    @wraps(measure)
    def command(as_json: bool, **given: Any) -> None:
        with refusals():
            figures = measure(**given)
        show(_table(title, rows) for title, rows in figures.items() if rows)
        if as_json:
            rounded = {
                title: [
                    {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()}
                    for row in rows
                ]
                for title, rows in figures.items()
            }
            show_document(rounded)

    take_options(command, measure, {"as_json": (AsJson, False)})
    return command


def _table(title: str, rows: Sequence[Row]) -> ResultTable:
    """Turn a single row into a column."""
    names = [name.replace("_", " ") for name in rows[0]]
    cells = [[_cell(value) for value in row.values()] for row in rows]
    if len(rows) == 1:
        return ResultTable(title, ("", ""), tuple(zip(names, cells[0], strict=True)))
    return ResultTable(title, tuple(names), tuple(map(tuple, cells)))


def _cell(value: Value) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:,.0f}"
    return value if isinstance(value, str) else f"{value:,}"
