"""Figures: the accuracies of one contender, with their standard errors.

Accuracies are in percent, over ordinary wordings and seen styles, except the two groups named after
what they hold out. Standard errors are clustered by stream.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.clustered_error import Estimate
from eval.run import summary
from eval.run.cost import Cost, bytes_per_hour, ingest_fps
from eval.run.scored import AGES_S, age_of
from eval.stream_benchmark.citation_figures import citation_document
from eval.stream_benchmark.record import NEW_STYLE, NEW_WORDING, PAST_GROUP, PRESENT_GROUP, Record
from eval.stream_benchmark.watches import WatchFigures
from eval.stream_world import KINDS
from eval.stream_world.past import PAST
from eval.stream_world.scoring import NOW
from eval.stream_world.vocabulary import parse_clock

TIME_KINDS = ("when_first", "when_last")
RECALLED_KINDS = tuple(kind for kind in PAST if kind != "seen_yet")
"""Kinds whose evidence a memory must find: any sighting at all proves `seen_yet`."""
NEGATIVE_KINDS = ("exist", "seen_yet", "watch")
NEGATIVE_ANSWERS = ("no", "not yet")


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """Compute all figures from the answers of one contender, by the names of the JSON document.

    None if there was no such question. `recall` is by layer, as shares of 1; `held_by_age` is the
    share of the evidence of that age that the memory still had a block of. Times: questions whose
    true answer is a time, or `right now`.
    """
    plain = [record for record in records if record.scored.group in (PRESENT_GROUP, PAST_GROUP)]
    past = _of_group(plain, PAST_GROUP)
    times = [r for r in past if r.scored.task in TIME_KINDS and _is_time(r.scored.truth)]
    recalls = [r.recall for r in plain if r.recall is not None and r.scored.task in RECALLED_KINDS]
    first_tokens = [ms for record in records if (ms := record.scored.first_token_ms) is not None]
    by_age = {age: [r for r in past if age_of(r.scored.evidence_age_s) == age] for age in AGES_S}
    groups = {
        "present": accuracy(_of_group(records, PRESENT_GROUP)),
        "past": accuracy(past),
        "times": accuracy(times),
        "heldout_phrasing": accuracy(_of_group(records, NEW_WORDING)),
        "heldout_style": accuracy(_of_group(records, NEW_STYLE)),
        "negative": negative(plain),
        "needles": accuracy([record for record in plain if record.is_needle]),
        "all": accuracy(plain),
    }
    ages = {age: accuracy(several) for age, several in by_age.items()}
    return {
        **{name: _percent(group) for name, group in groups.items()},
        "times_exact": _mean([100.0 * record.is_exact for record in times], 2),
        "by_kind": {k: _percent(accuracy([r for r in plain if r.scored.task == k])) for k in KINDS},
        "by_age": {age: _percent(group) for age, group in ages.items()},
        "stderr": {name: g and _rounded(g.stderr, 2) for name, g in {**groups, **ages}.items()},
        "held_by_age": {
            age: _mean([record.held for record in several if record.held is not None], 4)
            for age, several in by_age.items()
        },
        "citations": citation_document(records),
        "recall": [_mean(layer, 4) for layer in zip(*recalls, strict=True)] or None,
        "ttft_ms": round(statistics.median(first_tokens), 2) if first_tokens else None,
        "questions": len(records),
    }


def accuracy(records: Sequence[Record]) -> Estimate | None:
    """Return the share that is right, with its clustered standard error; None without records."""
    return summary.accuracy([record.scored for record in records]) if records else None


def negative(records: Sequence[Record]) -> Estimate | None:
    """Return the lower accuracy of two: questions whose truth is yes, and whose truth is no. A
    contender that always says yes, or always no, scores nothing. None unless both were asked.
    """
    asked = [record for record in records if record.scored.task in NEGATIVE_KINDS]
    no = accuracy([record for record in asked if record.scored.truth in NEGATIVE_ANSWERS])
    yes = accuracy([record for record in asked if record.scored.truth not in NEGATIVE_ANSWERS])
    return min(no, yes, key=lambda side: side.mean) if no and yes else None


def _of_group(records: Sequence[Record], group: str) -> list[Record]:
    return [record for record in records if record.scored.group == group]


def _is_time(truth: str) -> bool:
    return truth == NOW or parse_clock(truth) is not None


def _mean(numbers: Sequence[float], digits: int) -> float | None:
    return round(statistics.fmean(numbers), digits) if numbers else None


@dataclass(frozen=True)
class ContenderReport:
    """`costs` and `hours` are those of its streams; a baseline has neither watches nor measured
    costs. `hours`: what was kept at every full hour and at the end, see `eval.play.kept.Kept`.
    """

    records: Sequence[Record]
    costs: Sequence[Cost] = ()
    watches: WatchFigures | None = None
    hours: Sequence[Mapping[str, Any]] = ()

    def document(self) -> dict[str, Any]:
        """Return percent, except shares for recall and for what is still held; bytes that grow."""
        return {
            **figures(self.records),
            "bytes_per_hour": _rounded(bytes_per_hour(self.costs), 0),
            "ingest_fps": _rounded(ingest_fps(self.costs), 1),
            "hours": list(self.hours),
            **({} if self.watches is None else {"watches": self.watches.document()}),
        }


def _percent(found: Estimate | None) -> float | None:
    return None if found is None else round(found.mean, 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
