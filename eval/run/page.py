"""Page: tables, figures and the description of a run in, one self-contained HTML page out."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from eval.run.result_table import ResultTable

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff;
       max-width: 1360px; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .45rem; text-align: right; border-bottom: 1px solid #d9dee3; }
td { white-space: nowrap; }
th { vertical-align: bottom; font-weight: 600; border-bottom: 2px solid #8c959f; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
tr.marked { background: #e7f0fa; }
.notes { font-size: .86rem; color: #59636e; } dl { font-size: .9rem; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
code { font-size: .85rem; } img { max-width: 100%; height: auto; }
"""


def page(
    title: str,
    facts: Mapping[str, str],
    tables: Sequence[ResultTable],
    figures: Mapping[str, bytes],
    marked: str,
) -> str:
    """`facts` say what was run, on what; `figures` are SVG by title; a row may be `marked`."""
    first, *others = tables
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table(first, marked),
        *(_figure(name, svg) for name, svg in figures.items()),
        *(_table(table, marked) for table in others),
        "<h2>What was run</h2>",
        _facts(facts),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _table(table: ResultTable, marked: str) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "\n".join(_row(row, row[0] == marked) for row in table.rows)
    notes = "<br>\n".join(escape(note) for note in table.notes)
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n<thead><tr>{head}</tr>'
        f'</thead>\n<tbody>\n{rows}\n</tbody></table></div>\n<p class="notes">{notes}</p>'
    )


def _row(cells: Sequence[str], is_marked: bool) -> str:
    opening = '<tr class="marked">' if is_marked else "<tr>"
    return opening + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _figure(title: str, svg: bytes) -> str:
    data = base64.b64encode(svg).decode("ascii")
    name = escape(title)
    return f'<h2>{name}</h2>\n<img alt="{name}" src="data:image/svg+xml;base64,{data}">'


def _facts(facts: Mapping[str, str]) -> str:
    said = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>\n{said}\n</dl>"
