"""Report: an evaluation in, tables for a person and a JSON document for a program out."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.etbench.evaluation import Evaluation
from eval.etbench.mend import Mend
from eval.etbench.scores import MERGED, OVERALL, Scores

_MOST_DEVIATIONS = 10
"""As many are shown to a person; the document has all."""


def document(found: Evaluation) -> dict[str, Any]:
    """The published score under the official names, `strict` beside it under the same."""
    return {
        **_scores(found.published),
        "strict": {
            **_scores(found.strict),
            "mends": [
                {"bug": mend.number, "name": mend.name.lower(), "sentence": mend.sentence}
                for mend in Mend
            ],
        },
        "deviations": [
            {**one.key._asdict(), "raises": one.raises, "why": one.why}
            for one in found.published.deviations
        ],
        "unanswered": found.num_unanswered,
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "merged_unrounded": scores.merged,
        "overall": scores.overall,
        "by_task_source": scores.by_task_source,
    }


def tables(found: Evaluation) -> RenderableType:
    """Merged and overall numbers in percent, the sources, what is mended and what deviates."""
    return Group(
        _summary(found),
        _sources(found),
        Text(f"strict mends {len(Mend)} bugs of the official scorer:"),
        *(Text(f"  {mend.number:2d}. {mend.sentence}") for mend in Mend),
        *_notes(found),
    )


def _summary(found: Evaluation) -> Table:
    table = _table("E.T. Bench, percent", "published", "strict")
    for name, parts in MERGED.items():
        table.add_row(
            name,
            _percent(found.published.merged[name]),
            _percent(found.strict.merged[name]),
            style="bold",
        )
        for part in parts:
            assert part in OVERALL
            table.add_row(
                f"  {part}",
                _percent(found.published.overall[part], 100),
                _percent(found.strict.overall[part], 100),
            )
    return table


def _sources(found: Evaluation) -> Table:
    table = _table("by task and source", "samples", "failed", "figure", "published", "strict")
    figures: dict[str, str] = dict(OVERALL.values())
    figures |= {"dvc": "F1", "slc": "F1"}
    for task, sources in found.strict.by_task_source.items():
        for source, strict in sources.items():
            published = found.published.by_task_source.get(task, {}).get(source, {})
            name = figures[task]
            table.add_row(
                f"{task} {source}",
                str(published.get("Total", 0)),
                str(published.get("Failed", 0)),
                name,
                _percent(published.get(name), 100),
                _percent(strict[name], 100),
            )
    return table


def _notes(found: Evaluation) -> list[Text]:
    notes = []
    deviations = found.published.deviations
    if deviations:
        notes.append(
            Text(f"{len(deviations)} answers count as failed where the official scorer ends:")
        )
        notes += [
            Text(f"  {one.key}: {one.raises}: {one.why}") for one in deviations[:_MOST_DEVIATIONS]
        ]
        if len(deviations) > _MOST_DEVIATIONS:
            notes.append(Text("  ..., see --json for all"))
    if found.num_unanswered:
        notes.append(
            Text(f"{found.num_unanswered} annotated samples have no answer: failed if strict")
        )
    return notes


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(number: float | None, scale: float = 1.0) -> str:
    return "-" if number is None else f"{scale * number:.1f}"
