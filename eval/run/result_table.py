"""ResultTable: summaries of policies in, tables of text out that every form of the report shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.run.evidence_age import AGES_S
from eval.run.summary import Estimate, PolicySummary

NOTHING = "-"
_MB = 1e6
_LEGEND = {
    "held-out": "all, evidence: every question counts, held-out wordings and styles included; "
    "`all` and `by_age` of the JSON document are without those",
    "first token": "first token: milliseconds from the question to the first token, the median and "
    "the 95th percentile; for a policy that encodes frames for every question that is included",
    "ingest": "ingest: frames encoded and kept in a second, all streams together, reading or "
    "drawing frames left out; making captions is included",
    "dropped": "dropped: frames that were given to the policy and are in no block",
    "aged": "aged: blocks that became coarser or went for want of room: such a policy is not what "
    "its name says; more room: VSTREAM_MEMORY__HOST_BYTES",
    "MB an hour": "MB an hour: what has to be kept of an hour of video; 'fixed' is what is kept "
    "whatever the length",
    "peak": "peak: the most memory in use while the policy answered, weights included: of the "
    "device, or of the process (RSS) with its model loaded and what the policy added",
}


@dataclass(frozen=True)
class ResultTable:
    """The first column names the rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[PolicySummary], str]


def policy_table(summaries: Sequence[PolicySummary]) -> ResultTable:
    """A row for each policy: how often it is right, on what, and what it costs."""
    groups = dict.fromkeys(name for summary in summaries for name in summary.by_group)
    ages = [age for age in AGES_S if any(age in summary.by_age for summary in summaries)]
    accuracy = [
        _Column("all", lambda summary: str(summary.accuracy)),
        *(_Column(name, _estimate_of("by_group", name)) for name in groups if len(groups) > 1),
        *(_Column(f"evidence {age}", _estimate_of("by_age", age)) for age in ages),
    ]
    peaks = dict.fromkeys(summary.peak_of for summary in summaries if summary.peak_of)
    costs = [
        _Column("first token, ms: median / 95 %", _latency),
        _Column("ingest, frames/s", lambda s: _number(s.ingest_fps, 0)),
        _Column("dropped", lambda s: _number(s.num_dropped, 0)),
        _Column("aged", lambda s: _number(s.num_aged or None, 0)),
        _Column("MB an hour", _memory),
        _Column(
            f"peak {' or '.join(peaks) or 'memory'}, MB", lambda s: _number(s.peak_bytes, 0, _MB)
        ),
    ]
    columns = [*accuracy, *(column for column in costs if _is_filled(column, summaries))]
    legend = [text for word, text in _LEGEND.items() if any(word in c.title for c in columns)]
    counts = {summary.accuracy.num_questions for summary in summaries}
    return ResultTable(
        "Percent right ± standard error, and what it costs",
        ("policy", *(column.title for column in columns)),
        tuple((s.policy, *(column.cell(s) for column in columns)) for s in summaries),
        (
            f"{' to '.join(map(str, sorted({min(counts), max(counts)})))} questions under each "
            "policy. Standard errors are clustered by video (Miller, arXiv 2411.00640)",
            *legend,
        ),
    )


def task_table(summaries: Sequence[PolicySummary]) -> ResultTable:
    """A row for each task."""
    tasks = sorted({name for summary in summaries for name in summary.by_task})
    counts = {
        task: max(s.by_task[task].num_questions for s in summaries if task in s.by_task)
        for task in tasks
    }
    return ResultTable(
        "Percent right by task",
        ("task", "questions", *(summary.policy for summary in summaries)),
        tuple(
            (
                task,
                str(counts[task]),
                *(_percent(summary.by_task.get(task)) for summary in summaries),
            )
            for task in tasks
        ),
    )


def _estimate_of(field: str, name: str) -> Callable[[PolicySummary], str]:
    def cell(summary: PolicySummary) -> str:
        found: Estimate | None = getattr(summary, field).get(name)
        return NOTHING if found is None else str(found)

    return cell


def _latency(summary: PolicySummary) -> str:
    latency = summary.latency
    return f"{latency.median_ms:.0f} / {latency.p95_ms:.0f}" if latency else NOTHING


def _memory(summary: PolicySummary) -> str:
    if summary.bytes_per_hour is None:
        return NOTHING
    grows = f"{summary.bytes_per_hour / _MB:.1f}"
    if summary.fixed_bytes is None:
        return grows
    return f"{grows} + {summary.fixed_bytes / _MB:.1f} fixed"


def _percent(found: Estimate | None) -> str:
    return NOTHING if found is None else f"{found.percent:.0f}"


def _number(value: float | None, digits: int, unit: float = 1.0) -> str:
    return NOTHING if value is None else f"{value / unit:.{digits}f}"


def _is_filled(column: _Column, summaries: Sequence[PolicySummary]) -> bool:
    return any(column.cell(summary) != NOTHING for summary in summaries)
