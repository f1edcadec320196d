"""write_report: a run's directory with its scores and costs in, report.md and report.html out."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from eval.run.cost import read_costs
from eval.run.description import RunDescription
from eval.run.page import page
from eval.run.plots import MARKED, plots
from eval.run.result_table import ResultTable, policy_table, task_table
from eval.run.scored import read_scored
from eval.run.summary import summaries
from eval.run.whole_file import write_whole

NO_PLOTS = "there are no plots: pip install 'vstream[bench]', then start the same command again"


def write_report(directory: Path, left_out: Mapping[str, str] | None = None) -> None:
    """Anew, from what is on record; `left_out` says why policies that one expects are missing."""
    found = summaries(read_scored(directory), read_costs(directory))
    if not found:
        return
    description = RunDescription.read(directory)
    videos = len({record.video for record in read_scored(directory)})
    benchmark = description.config.get("benchmark", "benchmark")
    title = f"{benchmark}: {found[0].accuracy.num_questions} questions about {videos} videos"
    tables = [policy_table(found), task_table(found)]
    facts = _facts(description) | {f"left out: {k}": why for k, why in (left_out or {}).items()}
    has_plots = importlib.util.find_spec("matplotlib") is not None
    figures = plots(found) if has_plots else {}
    if not has_plots:
        facts["plots"] = NO_PLOTS
    write_whole(directory / "report.md", _markdown(title, facts, tables))
    write_whole(directory / "report.html", page(title, facts, tables, figures, MARKED))


def _facts(description: RunDescription) -> dict[str, str]:
    """Of the last start; whether earlier ones ran elsewhere or on other code is said."""
    facts = {"configuration": json.dumps(description.config)}
    if not description.starts:
        return facts
    last = description.starts[-1]
    facts |= {
        "command": last.command,
        "date": last.date,
        "commit": last.commit or "not known",
        "hardware": str(last.hardware),
        "versions": ", ".join(f"{name} {version}" for name, version in last.versions.items()),
    }
    ways = {(start.commit, str(start.hardware)) for start in description.starts}
    if len(ways) > 1:
        said = "; ".join(f"{s.date}: {s.commit}, {s.hardware}" for s in description.starts)
        facts["started again, not always alike"] = said
    return facts


def _markdown(title: str, facts: Mapping[str, str], tables: list[ResultTable]) -> str:
    lines = [f"# {title}", ""]
    for table in tables:
        lines += [f"## {table.title}", "", *_rows(table), ""]
        lines += [f"- {note}" for note in table.notes] + [""] * bool(table.notes)
    lines += ["## What was run", "", *(f"- {name}: `{said}`" for name, said in facts.items()), ""]
    return "\n".join(lines)


def _rows(table: ResultTable) -> list[str]:
    def row(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ("---", *("---:" for _ in table.columns[1:]))
    return [row(table.columns), row(rule), *(row(cells) for cells in table.rows)]
