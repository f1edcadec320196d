"""Time figures: what an exam about time finds right, by kind, age and form.

In percent, each with the interval that holds 95 of 100 bootstrap samples of the streams. Rows cover
ordinary wordings, except the one named after what it holds out.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from eval.clustered_error import Mark
from eval.result_table import ResultTable
from eval.run.paired import bootstrap_interval
from eval.run.scored import AGES_S, Scored, age_of
from eval.stream_benchmark.figures import TIME_KINDS
from eval.stream_benchmark.record import NEVER_GROUP, NEW_WORDING, PAST_GROUP, Record
from eval.stream_world.statement import FORMS
from eval.stream_world.timed import TIMED
from eval.stream_world.timed_scoring import said_time

WITHIN_S = 2
ALL = "all"
PARTS = (ALL, *AGES_S, *FORMS)


@dataclass(frozen=True)
class TimeFigure:
    """`interval` is None for a single stream."""

    percent: float
    interval: tuple[float, float] | None
    questions: int

    @classmethod
    def of(cls, marks: Sequence[Mark]) -> "TimeFigure | None":
        """Return None without marks."""
        if not marks:
            return None
        interval = bootstrap_interval(marks)
        return cls(
            round(100 * statistics.fmean(mark.value for mark in marks), 2),
            interval and (round(interval[0], 2), round(interval[1], 2)),
            len(marks),
        )

    def __str__(self) -> str:
        between = "" if self.interval is None else " [{:.1f}, {:.1f}]".format(*self.interval)
        return f"{self.percent:.1f}{between} of {self.questions}"


TimeFigures = Mapping[str, Mapping[str, TimeFigure | None]]
"""By row, then by each of PARTS."""


def time_figures(records: Sequence[Record]) -> TimeFigures:
    def asked(group: str, *kinds: str) -> list[Record]:
        mine = [one for one in records if one.scored.group == group]
        return [one for one in mine if not kinds or one.scored.task in kinds]

    times = asked(PAST_GROUP, *TIME_KINDS)
    rows = {
        "times": times,
        f"times within {WITHIN_S} s": [
            replace(one, scored=replace(one.scored, score=_is_within(one.scored))) for one in times
        ],
        **{kind: asked(PAST_GROUP, kind) for kind in TIMED},
        **{group: asked(group) for group in (NEVER_GROUP, NEW_WORDING)},
    }
    return {row: _by_part(several) for row, several in rows.items()}


def time_document(records: Sequence[Record]) -> dict[str, dict[str, object]]:
    return {
        row: {part: found and asdict(found) for part, found in of.items()}
        for row, of in time_figures(records).items()
    }


def time_table(by_contender: Mapping[str, Sequence[Record]]) -> ResultTable:
    """Return one row per contender and figure, one column per part that was asked about."""
    rows = {
        f"{name}: {row}": of
        for name, records in by_contender.items()
        for row, of in time_figures(records).items()
    }
    return ResultTable.of(
        "About time: percent right [95 % interval] of questions, by age of the oldest evidence "
        "and by form of statement",
        rows,
        "intervals: streams are drawn with replacement (bootstrap)",
        corner="contender: kind",
    )


def _is_within(one: Scored) -> float:
    assert one.asked_s is not None
    true_s, given_s = said_time(one.truth, one.asked_s), said_time(one.given, one.asked_s)
    return float(true_s is not None and given_s is not None and abs(true_s - given_s) <= WITHIN_S)


def _by_part(records: Sequence[Record]) -> dict[str, TimeFigure | None]:
    parts = [{ALL, one.form, age_of(one.scored.evidence_age_s)} for one in records]
    marks = [Mark(one.scored.video, one.scored.score) for one in records]
    both = list(zip(parts, marks, strict=True))
    return {part: TimeFigure.of([mark for of, mark in both if part in of]) for part in PARTS}
