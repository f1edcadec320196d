"""Figures: the records of one policy in, its accuracies with their standard errors out.

Accuracies are in percent and over ordinary wordings and seen styles, but for the two groups that
are named after what they hold out. The questions about one stream are not independent, so the
standard error of a mean is clustered by stream (the cluster-robust CR0 of a regression on nothing
but a constant): with x[i] = 1 where question i was answered rightly, n questions, mean m,

    stderr = sqrt( sum over streams g of ( sum over i in g of (x[i] - m) )^2 ) / n

A single stream has no spread to go by: no standard error.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from eval.stream_benchmark.record import Record
from eval.stream_world import KINDS
from eval.stream_world.past import PAST
from eval.stream_world.present import PRESENT

TIME_KINDS = ("when_first", "when_last")
NEGATIVE_KINDS = ("exist", "seen_yet", "watch")
NEGATIVE_ANSWERS = ("no", "not yet")
AGES_S = {"<1min": 60.0, "1-10min": 600.0, "10-60min": 3600.0, ">1h": math.inf}
"""Evidence is younger than so many seconds, and not as young as the group before."""


@dataclass(frozen=True)
class Accuracy:
    """In percent; `stderr` is None where it cannot be known."""

    percent: float
    stderr: float | None
    num_questions: int


@dataclass(frozen=True)
class Figures:
    """None where there was no such question. `recall` is by layer, in shares of 1."""

    groups: dict[str, Accuracy | None]
    by_kind: dict[str, Accuracy | None]
    by_age: dict[str, Accuracy | None]
    times_exact: float | None
    recall: tuple[float, ...] | None
    ttft_ms: float | None
    num_questions: int


def figures(records: Sequence[Record]) -> Figures:
    """All that is made of the answers of one policy."""
    seen = [record for record in records if record.style == "seen"]
    plain = [record for record in seen if record.wording == "train"]
    times = [record for record in plain if record.kind in TIME_KINDS]
    first_tokens = [record.ttft_ms for record in records if record.ttft_ms is not None]
    return Figures(
        groups={
            "present": accuracy([record for record in plain if record.kind in PRESENT]),
            "past": accuracy([record for record in plain if record.kind in PAST]),
            "times": accuracy(times),
            "heldout_phrasing": accuracy([r for r in seen if r.wording == "held_out"]),
            "heldout_style": accuracy([r for r in records if r.style == "held_out"]),
            "negative": negative(plain),
            "needles": accuracy([record for record in plain if record.is_needle]),
            "all": accuracy(plain),
        },
        by_kind={kind: accuracy([r for r in plain if r.kind == kind]) for kind in KINDS},
        by_age={age: accuracy([r for r in plain if age_of(r) == age]) for age in AGES_S},
        times_exact=100 * statistics.fmean(r.is_exact for r in times) if times else None,
        recall=mean_recall(plain),
        ttft_ms=statistics.median(first_tokens) if first_tokens else None,
        num_questions=len(records),
    )


def accuracy(records: Sequence[Record]) -> Accuracy | None:
    """The share that is right, with its clustered standard error; None without records."""
    if not records:
        return None
    mean = statistics.fmean(record.is_right for record in records)
    residuals: defaultdict[str, float] = defaultdict(float)
    for record in records:
        residuals[record.stream] += record.is_right - mean
    spread = math.sqrt(sum(residual**2 for residual in residuals.values())) / len(records)
    stderr = 100 * spread if len(residuals) > 1 else None
    return Accuracy(100 * mean, stderr, len(records))


def negative(records: Sequence[Record]) -> Accuracy | None:
    """The lower accuracy of two: where a yes is true, and where a no is.

    Whoever always says yes, or always no, gets nothing here.
    """
    asked = [record for record in records if record.kind in NEGATIVE_KINDS]
    sides = (
        accuracy([record for record in asked if record.truth in NEGATIVE_ANSWERS]),
        accuracy([record for record in asked if record.truth not in NEGATIVE_ANSWERS]),
    )
    known = [side for side in sides if side is not None]
    return min(known, key=lambda side: side.percent, default=None)


def age_of(record: Record) -> str | None:
    """The group of AGES_S that the record's oldest evidence is in; None without evidence."""
    age_s = record.evidence_age_s
    return None if age_s is None else next(age for age, end_s in AGES_S.items() if age_s < end_s)


def mean_recall(records: Sequence[Record]) -> tuple[float, ...] | None:
    """The evidence's recall in each layer, averaged over the questions that have evidence."""
    recalls = [record.recall for record in records if record.recall is not None]
    return tuple(map(statistics.fmean, zip(*recalls, strict=True))) if recalls else None
