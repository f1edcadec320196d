"""Report: what came of each policy in, tables for a person and a JSON document out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from eval.run.cost import Cost, bytes_per_hour, ingest_fps
from eval.run.evidence_age import AGES_S
from eval.stream_benchmark.figures import Accuracy, Figures, figures
from eval.stream_benchmark.stream_outcome import StreamOutcome
from eval.stream_benchmark.watches import WatchFigures
from eval.stream_world import KINDS

_GROUPS = {
    "present": "present",
    "past": "past",
    "times": "times (when first, when last)",
    "heldout_phrasing": "held-out wording",
    "heldout_style": "held-out style",
    "negative": "negative (lower of yes, no)",
    "needles": "needles",
    "all": "all",
}


@dataclass(frozen=True)
class PolicyReport:
    """What there is to say about one policy; `costs` are those of its streams.

    A baseline has no watches, and costs in which nothing was measured.
    """

    figures: Figures
    costs: Sequence[Cost] = ()
    watches: WatchFigures | None = None

    @property
    def bytes_per_hour(self) -> float | None:
        """What the policy keeps that grows with the stream: its blocks, or its captions.

        A window of newest blocks does not grow. Block files that policies share do not count.
        """
        return bytes_per_hour(self.costs)

    @property
    def ingest_fps(self) -> float | None:
        """Frames encoded and kept in a second, captions made too; rendering left out."""
        return ingest_fps(self.costs)


def policy_reports(outcomes: Sequence[StreamOutcome]) -> dict[str, PolicyReport]:
    """By policy, in the order of the outcomes."""
    by_policy: dict[str, list[StreamOutcome]] = {}
    for outcome in outcomes:
        by_policy.setdefault(outcome.policy, []).append(outcome)
    return {policy: _policy_report(own) for policy, own in by_policy.items()}


def _policy_report(outcomes: Sequence[StreamOutcome]) -> PolicyReport:
    watched = [outcome.watches for outcome in outcomes if outcome.watches is not None]
    return PolicyReport(
        figures([record for outcome in outcomes for record in outcome.records]),
        [outcome.cost() for outcome in outcomes],
        WatchFigures.of([w for watches in watched for w in watches]) if watched else None,
    )


def document(reports: Mapping[str, PolicyReport]) -> dict[str, object]:
    """The JSON document: a policy's name -> its figures; percent, but shares for recall."""
    return {name: _policy_document(report) for name, report in reports.items()}


def _policy_document(report: PolicyReport) -> dict[str, object]:
    figures = report.figures
    watches = report.watches
    return {
        **{name: _percent(found) for name, found in figures.groups.items()},
        "times_exact": _rounded(figures.times_exact, 2),
        "by_kind": {kind: _percent(found) for kind, found in figures.by_kind.items()},
        "by_age": {age: _percent(found) for age, found in figures.by_age.items()},
        "stderr": {
            name: None if found is None else _rounded(found.stderr, 2)
            for name, found in {**figures.groups, **figures.by_age}.items()
        },
        "recall": None if figures.recall is None else [round(r, 4) for r in figures.recall],
        "bytes_per_hour": _rounded(report.bytes_per_hour, 0),
        "ingest_fps": _rounded(report.ingest_fps, 1),
        "ttft_ms": _rounded(figures.ttft_ms, 2),
        "questions": figures.num_questions,
        **({} if watches is None else {"watches": watches.document()}),
    }


def tables(reports: Mapping[str, PolicyReport]) -> list[Table]:
    """Policies side by side: by kind, by age of the evidence, by layer, and over all."""
    every = list(reports.values())
    kinds = _table("percent right, by kind of question", reports)
    for kind in KINDS:
        kinds.add_row(kind, *(_accuracy(report.figures.by_kind[kind]) for report in every))
    ages = _table("percent right, by age of the evidence", reports)
    for age in AGES_S:
        ages.add_row(age, *(_accuracy(report.figures.by_age[age]) for report in every))
    recall = _table("recall of the evidence, by layer", reports)
    for layer in range(max(len(report.figures.recall or ()) for report in every)):
        recall.add_row(str(layer), *(_recall(report, layer) for report in every))
    return [kinds, ages, recall, _summary(reports)]


def _summary(reports: Mapping[str, PolicyReport]) -> Table:
    every = list(reports.values())
    table = _table("percent right ± standard error, and what it costs", reports)
    for name, title in _GROUPS.items():
        table.add_row(title, *(_accuracy(report.figures.groups[name]) for report in every))
    table.add_row("times to the second", *(_number(r.figures.times_exact, 1) for r in every))
    table.add_row("MB an hour", *(_number(r.bytes_per_hour, 1, 1e-6) for r in every))
    table.add_row("ingest, frames/s", *(_number(r.ingest_fps, 0) for r in every))
    table.add_row("first token, ms", *(_number(r.figures.ttft_ms, 1) for r in every))
    table.add_row("questions", *(str(report.figures.num_questions) for report in every))
    if any(report.watches for report in every):
        watches = [report.watches or WatchFigures.of([]) for report in every]
        table.add_row(
            "watches told within 5 s, %", *(_number(w.fired_within_5s, 1) for w in watches)
        )
        table.add_row(
            "false alarms an hour", *(_number(w.false_alarms_per_hour, 1) for w in watches)
        )
    return table


def _table(title: str, reports: Mapping[str, PolicyReport]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in reports:
        table.add_column(name, justify="right")
    return table


def _accuracy(found: Accuracy | None) -> str:
    if found is None:
        return "-"
    return f"{found.percent:.1f}" + ("" if found.stderr is None else f" ± {found.stderr:.1f}")


def _recall(report: PolicyReport, layer: int) -> str:
    recall = report.figures.recall
    return _number(recall[layer] if recall else None, 3)


def _number(value: float | None, digits: int, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def _percent(found: Accuracy | None) -> float | None:
    return None if found is None else round(found.percent, 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
