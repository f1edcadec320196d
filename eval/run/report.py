"""write_report: makes report.md and report.html from the scores and costs in a run's directory."""

import importlib.util
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment

from eval.result_table import NOTHING, ResultTable
from eval.run.cost import read_costs
from eval.run.plots import MARKED, plots
from eval.run.run_directory import RunDescription, hardware_words, write_whole
from eval.run.scored import read_scored
from eval.run.summary import PolicySummary, by_age, by_part, summaries

NO_PLOTS = "there are no plots: pip install 'vstream[bench]', then start the same command again"


def write_report(
    directory: Path,
    left_out: Mapping[str, str] | None = None,
    more: Sequence[ResultTable] = (),
    curves: Mapping[str, bytes] | None = None,
) -> None:
    """`left_out` says why expected policies are missing. The benchmark's own tables and `curves`
    (SVG by title) come first.
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
    """Return facts of the last start; mention if earlier ones had other hardware or code."""
    facts = {"configuration": json.dumps(description.config)}
    if not description.starts:
        return facts
    last = description.starts[-1]
    facts |= {
        "command": last["command"],
        "date": last["date"],
        "commit": last["commit"] or "not known",
        "hardware": hardware_words(last["hardware"]),
        "versions": ", ".join(f"{name} {version}" for name, version in last["versions"].items()),
    }
    ways = [(s["date"], s["commit"], hardware_words(s["hardware"])) for s in description.starts]
    if len({way[1:] for way in ways}) > 1:
        told = (f"{date}: {commit}, {where}" for date, commit, where in ways)
        facts["started again, not always alike"] = "; ".join(told)
    return facts


_MB = 1e6
_LEGEND = {
    "held-out": "all, evidence: every question counts, held-out wordings and styles included; "
    "`all` and `by_age` of the JSON document are without those",
    "first token": "first token: milliseconds from the question to the first token, the median and "
    "the 95th percentile; for a policy that encodes frames for every question that is included",
    "ingest": "ingest: frames encoded and kept in a second, all streams together, reading or "
    "drawing frames left out; describing clips is included",
    "dropped": "dropped: frames that were given to the policy and are in no block",
    "aged": "aged: blocks that became coarser or went for want of room: such a policy is not what "
    "its name says; more room: VSTREAM_MEMORY__HOST_BYTES",
    "MB an hour": "MB an hour: what has to be kept of an hour of video; 'fixed' is what is kept "
    "whatever the length",
    "peak": "peak: the most memory in use while the policy answered, weights included: of the "
    "device, or of the process (RSS) with its model loaded and what the policy added",
}


def policy_table(summaries: Sequence[PolicySummary]) -> ResultTable:
    """Return one row per policy: how often it is right, on what, and what it costs."""
    parts = {**by_part(summaries), **by_age(summaries)}
    peaks = dict.fromkeys(summary.peak_of for summary in summaries if summary.peak_of)
    rows = {
        one.policy: {
            **{title: of.get(one.policy, NOTHING) for title, of in parts.items()},
            "first token, ms: median / 95 %": one.latency,
            "ingest, frames/s": _number(one.ingest_fps),
            "dropped": _number(one.num_dropped),
            "aged": _number(one.num_aged or None),
            "MB an hour": _memory(one),
            f"peak {' or '.join(peaks) or 'memory'}, MB": _number(one.peak_bytes, _MB),
        }
        for one in summaries
    }
    counts = sorted({summary.accuracy.num_questions for summary in summaries})
    table = ResultTable.of(
        "Percent right ± standard error, and what it costs",
        rows,
        f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} questions under each "
        "policy. Standard errors are clustered by video (Miller, arXiv 2411.00640)",
        corner="policy",
    )
    legend = (text for word, text in _LEGEND.items() if any(word in one for one in table.columns))
    return replace(table, notes=(*table.notes, *legend))


def task_table(summaries: Sequence[PolicySummary]) -> ResultTable:
    rows = {}
    for task in sorted({name for summary in summaries for name in summary.by_task}):
        found = {summary.policy: summary.by_task.get(task) for summary in summaries}
        count = max(one.num_questions for one in found.values() if one)
        cells = {policy: f"{one.mean:.0f}" if one else NOTHING for policy, one in found.items()}
        rows[task] = {"questions": count, **cells}
    return ResultTable.of("Percent right by task", rows, corner="task")


def _memory(summary: PolicySummary) -> str | None:
    if summary.bytes_per_hour is None:
        return None
    grows = f"{summary.bytes_per_hour / _MB:.1f}"
    if summary.fixed_bytes is None:
        return grows
    return f"{grows} + {summary.fixed_bytes / _MB:.1f} fixed"


def _number(value: float | None, unit: float = 1.0) -> str | None:
    return None if value is None else f"{value / unit:.0f}"
