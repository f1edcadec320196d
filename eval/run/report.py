"""write_report makes report.md and report.html of the scores and costs in a run's directory."""

import importlib.util
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from eval.result_table import ResultTable
from eval.run.cost import read_costs
from eval.run.description import RunDescription
from eval.run.plots import MARKED, plots
from eval.run.policy_tables import policy_table, task_table
from eval.run.record_file import write_whole
from eval.run.scored import read_scored
from eval.run.summary import summaries

NO_PLOTS = "there are no plots: pip install 'vstream[bench]', then start the same command again"


def write_report(
    directory: Path,
    left_out: Mapping[str, str] | None = None,
    more: Sequence[ResultTable] = (),
    curves: Mapping[str, bytes] | None = None,
) -> None:
    """From what is on record; `left_out` says why policies that one expects are missing. A
    benchmark may have tables and curves (SVG by title) of its own, which come first.
    """
    records = read_scored(directory)
    found = summaries(records, read_costs(directory))
    if not found:
        return
    description = RunDescription.read(directory)
    videos = len({record.video for record in records})
    benchmark = description.config.get("benchmark", "benchmark")
    title = f"{benchmark}: {found[0].accuracy.num_questions} questions about {videos} videos"
    tables = [*more, policy_table(found), task_table(found)]
    facts = _facts(description) | {f"left out: {k}": why for k, why in (left_out or {}).items()}
    has_plots = importlib.util.find_spec("matplotlib") is not None
    figures = {**(curves or {}), **plots(found)} if has_plots else {}
    if not has_plots:
        facts["plots"] = NO_PLOTS
    lines = [f"# {title}", "", *(line for table in tables for line in table.markdown())]
    lines += ["## What was run", "", *(f"- {name}: `{fact}`" for name, fact in facts.items()), ""]
    write_whole(directory / "report.md", "\n".join(lines))
    template = files("eval.run").joinpath("report.html").read_text(encoding="utf-8")
    page = (
        Environment(autoescape=True, trim_blocks=True)
        .from_string(template)
        .render(
            title=title,
            tables=tables,
            figures={name: b64encode(svg).decode("ascii") for name, svg in figures.items()},
            facts=facts,
            marked=MARKED,
        )
    )
    write_whole(directory / "report.html", page + "\n")


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
        starts = "; ".join(f"{s.date}: {s.commit}, {s.hardware}" for s in description.starts)
        facts["started again, not always alike"] = starts
    return facts
