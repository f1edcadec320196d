"""Time figures: the records of an exam about time in, what is right by kind and by age out.

Percent, each with the interval in which 95 of 100 bootstrap samples of the streams lie. Rows are
over ordinary wordings but for the one that is named after what it holds out.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from eval.clustered_error import Mark
from eval.result_table import NOTHING, ResultTable
from eval.run.paired import bootstrap_interval
from eval.run.scored import AGES_S, Scored, age_of
from eval.stream_benchmark.figures import TIME_KINDS
from eval.stream_benchmark.record import NEVER_GROUP, NEW_WORDING, PAST_GROUP
from eval.stream_world.timed import TIMED
from eval.stream_world.timed_scoring import said_time

WITHIN_S = 2
ALL = "all"


@dataclass(frozen=True)
class TimeFigure:
    """The interval is None for a single stream."""

    percent: float
    interval: tuple[float, float] | None
    questions: int

    @classmethod
    def of(cls, marks: Sequence[Mark]) -> "TimeFigure | None":
        """None without marks."""
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
"""By row, then over ALL and by age."""


def time_figures(records: Sequence[Scored]) -> TimeFigures:
    """Of one contender."""
    past = [one for one in records if one.group == PAST_GROUP]
    times = [one for one in past if one.task in TIME_KINDS]
    rows = {
        "times": times,
        f"times within {WITHIN_S} s": [replace(one, score=_is_within(one)) for one in times],
        **{kind: [one for one in past if one.task == kind] for kind in TIMED},
        **{
            name: [one for one in records if one.group == name]
            for name in (NEVER_GROUP, NEW_WORDING)
        },
    }
    return {row: _by_age(several) for row, several in rows.items()}


def time_document(records: Sequence[Scored]) -> dict[str, dict[str, object]]:
    """The same for JSON."""
    found = time_figures(records)
    return {row: {age: one and asdict(one) for age, one in of.items()} for row, of in found.items()}


def time_table(by_contender: Mapping[str, Sequence[Scored]]) -> ResultTable:
    """A row for each contender and figure, a column for each age that was asked about."""
    found = {name: time_figures(records) for name, records in by_contender.items()}
    ages = [
        age
        for age in (ALL, *AGES_S)
        if any(of[age] for figures in found.values() for of in figures.values())
    ]
    return ResultTable(
        "About time: percent right [95 % interval] of questions, by age of the oldest evidence",
        ("contender: kind", *ages),
        tuple(
            (f"{name}: {row}", *(str(of[age] or NOTHING) for age in ages))
            for name, figures in found.items()
            for row, of in figures.items()
        ),
        ("intervals: streams are drawn with replacement (bootstrap)",),
    )


def _is_within(one: Scored) -> float:
    assert one.asked_s is not None
    true_s, given_s = said_time(one.truth, one.asked_s), said_time(one.given, one.asked_s)
    return float(true_s is not None and given_s is not None and abs(true_s - given_s) <= WITHIN_S)


def _by_age(records: Sequence[Scored]) -> dict[str, TimeFigure | None]:
    marks = [(age_of(one.evidence_age_s), Mark(one.video, one.score)) for one in records]
    of_age = {age: [mark for its, mark in marks if its == age] for age in AGES_S}
    by_age = {ALL: [mark for _, mark in marks], **of_age}
    return {age: TimeFigure.of(several) for age, several in by_age.items()}
