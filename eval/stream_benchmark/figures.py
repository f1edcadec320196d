"""Figures: the records of one policy in, its accuracies with their standard errors out.

Accuracies are in percent and over ordinary wordings and seen styles, but for the two groups that
are named after what they hold out. Their standard errors are clustered by stream.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.clustered_error import Mark, Part, clustered_stderr
from eval.run.evidence_age import AGES_S, age_of
from eval.stream_benchmark.record import Record
from eval.stream_world import KINDS
from eval.stream_world.past import PAST
from eval.stream_world.present import PRESENT
from eval.stream_world.scoring import NOW
from eval.stream_world.vocabulary import parse_clock

TIME_KINDS = ("when_first", "when_last")
RECALLED_KINDS = tuple(kind for kind in PAST if kind != "seen_yet")
"""Whose evidence is what a memory must find: any sighting at all proves `seen_yet`."""
NEGATIVE_KINDS = ("exist", "seen_yet", "watch")
NEGATIVE_ANSWERS = ("no", "not yet")


@dataclass(frozen=True)
class Accuracy:
    """In percent; `stderr` is None where it cannot be known."""

    percent: float
    stderr: float | None
    num_questions: int


@dataclass(frozen=True)
class Figures:
    """None where there was no such question. `recall` is by layer, in shares of 1.

    Both figures of times are over the questions whose true answer is a time, or `right now`.
    """

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
    past = [record for record in plain if record.kind in PAST]
    times = [record for record in past if record.kind in TIME_KINDS and _is_time(record.truth)]
    first_tokens = [record.ttft_ms for record in records if record.ttft_ms is not None]
    return Figures(
        groups={
            "present": accuracy([record for record in plain if record.kind in PRESENT]),
            "past": accuracy(past),
            "times": accuracy(times),
            "heldout_phrasing": accuracy([r for r in seen if r.wording == "held_out"]),
            "heldout_style": accuracy([r for r in records if r.style == "held_out"]),
            "negative": negative(plain),
            "needles": accuracy([record for record in plain if record.is_needle]),
            "all": accuracy(plain),
        },
        by_kind={kind: accuracy([r for r in plain if r.kind == kind]) for kind in KINDS},
        by_age=by_age(past, AGES_S),
        times_exact=_times_exact(times),
        recall=mean_recall([r for r in plain if r.kind in RECALLED_KINDS]),
        ttft_ms=statistics.median(first_tokens) if first_tokens else None,
        num_questions=len(records),
    )


def by_age(records: Sequence[Record], ages_s: Mapping[str, float]) -> dict[str, Accuracy | None]:
    """The accuracy in each group of ages."""
    return {
        age: accuracy([r for r in records if age_of(r.evidence_age_s, ages_s) == age])
        for age in ages_s
    }


def _is_time(truth: str) -> bool:
    """Whether it tells a time; it does not where an object was never seen."""
    return truth == NOW or parse_clock(truth) is not None


def _times_exact(times: Sequence[Record]) -> float | None:
    """The share in percent that was told to the second; None without one."""
    return 100 * statistics.fmean(record.is_exact for record in times) if times else None


def accuracy(records: Sequence[Record]) -> Accuracy | None:
    """The share that is right, with its clustered standard error; None without records."""
    if not records:
        return None
    part = Part(1.0, [Mark(record.stream, float(record.is_right)) for record in records])
    stderr = clustered_stderr([part])
    return Accuracy(100 * part.mean, None if stderr is None else 100 * stderr, len(records))


def negative(records: Sequence[Record]) -> Accuracy | None:
    """The lower accuracy of two: where a yes is true, and where a no is.

    Whoever always says yes, or always no, gets nothing here. None unless both were asked for.
    """
    asked = [record for record in records if record.kind in NEGATIVE_KINDS]
    sides = (
        accuracy([record for record in asked if record.truth in NEGATIVE_ANSWERS]),
        accuracy([record for record in asked if record.truth not in NEGATIVE_ANSWERS]),
    )
    if None in sides:
        return None
    return min((side for side in sides if side), key=lambda side: side.percent)


def mean_recall(records: Sequence[Record]) -> tuple[float, ...] | None:
    """The evidence's recall in each layer, averaged over the records that have it."""
    recalls = [record.recall for record in records if record.recall is not None]
    return tuple(map(statistics.fmean, zip(*recalls, strict=True))) if recalls else None
