"""speed_command makes a command of what measures Figures: it shows tables and one JSON document."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from eval.result_table import NOTHING, ResultTable, show, show_document
from memory import KVMemoryError
from vstream import VStreamError

Value = float | str | None
Row = Mapping[str, Value]
"""By name; the name of a figure ends with its unit."""
Figures = Mapping[str, Sequence[Row]]
"""Rows of like figures by what they are about."""
_AS_JSON = Annotated[bool, typer.Option("--json", help="End with one JSON document.")]


def speed_command(measure: Callable[..., Figures]) -> Callable[..., None]:
    """Takes what `measure` does, and `--json`."""

    @wraps(measure)
    def command(as_json: bool, **given: Any) -> None:
        try:
            figures = measure(**given)
        except (VStreamError, KVMemoryError) as error:
            raise typer.BadParameter(str(error)) from error
        show(_table(title, rows) for title, rows in figures.items() if rows)
        if as_json:
            show_document(
                {
                    title: [{name: _rounded(value) for name, value in row.items()} for row in rows]
                    for title, rows in figures.items()
                }
            )

    own = signature(measure)
    json = Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=_AS_JSON)
    command.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[*own.parameters.values(), json], return_annotation=None
    )
    return command


def _table(title: str, rows: Sequence[Row]) -> ResultTable:
    """A single row stands upright."""
    if len(rows) == 1:
        cells = tuple((_words(name), _cell(value)) for name, value in rows[0].items())
        return ResultTable(title, ("", ""), cells)
    several = tuple(tuple(map(_cell, row.values())) for row in rows)
    return ResultTable(title, tuple(map(_words, rows[0])), several)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _rounded(value: Value) -> Value:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _cell(value: Value) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:,.0f}"
    return value if isinstance(value, str) else f"{value:,}"
