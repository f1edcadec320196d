"""PolicySummary: what scores and costs say about one policy: a row of the report."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.clustered_error import Estimate, Mark, Part, estimate
from eval.run.cost import Cost, bytes_per_hour, ingest_fps
from eval.run.scored import AGES_S, Scored, age_of


@dataclass(frozen=True)
class Latency:
    """Milliseconds to the first token: every one, their median and their 95th percentile."""

    all_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.all_ms)

    @property
    def p95_ms(self) -> float:
        """The smallest value that at least 95 % do not exceed (nearest rank)."""
        return sorted(self.all_ms)[math.ceil(0.95 * len(self.all_ms)) - 1]

    def __str__(self) -> str:
        return f"{self.median_ms:.0f} / {self.p95_ms:.0f}"


@dataclass(frozen=True)
class PolicySummary:
    """None, or a missing group, means that there is no such figure."""

    policy: str
    accuracy: Estimate
    by_group: dict[str, Estimate]
    by_age: dict[str, Estimate]
    by_task: dict[str, Estimate]
    latency: Latency | None
    ingest_fps: float | None
    num_dropped: int | None
    num_aged: int | None
    bytes_per_hour: float | None
    fixed_bytes: float | None
    peak_bytes: int | None
    peak_of: str | None


ByPolicy = Mapping[str, Estimate]
"""Omits policies without an estimate."""


def summaries(records: Sequence[Scored], costs: Sequence[Cost]) -> list[PolicySummary]:
    """Return summaries in the records' order of policies."""
    return [
        _summary(
            policy,
            [record for record in records if record.policy == policy],
            [cost for cost in costs if cost.policy == policy],
        )
        for policy in dict.fromkeys(record.policy for record in records)
    ]


def by_part(found: Sequence[PolicySummary]) -> dict[str, ByPolicy]:
    """Return all questions, then each part of the benchmark if it has several."""
    groups = dict.fromkeys(name for one in found for name in one.by_group)
    parts: dict[str, ByPolicy] = {"all": {one.policy: one.accuracy for one in found}}
    for name in groups if len(groups) > 1 else ():
        parts[name] = {one.policy: one.by_group[name] for one in found if name in one.by_group}
    return parts


def by_age(found: Sequence[PolicySummary]) -> dict[str, ByPolicy]:
    ages = {age: {s.policy: s.by_age[age] for s in found if age in s.by_age} for age in AGES_S}
    return {f"evidence {age}": estimates for age, estimates in ages.items() if estimates}


def _summary(policy: str, records: Sequence[Scored], costs: Sequence[Cost]) -> PolicySummary:
    first_tokens = tuple(r.first_token_ms for r in records if r.first_token_ms is not None)
    peaks = [(cost.peak_bytes, cost.peak_of) for cost in costs if cost.peak_bytes is not None]
    peak_bytes, peak_of = max(peaks, default=(None, None))
    groups = _grouped(records, lambda record: record.group)
    return PolicySummary(
        policy=policy,
        accuracy=accuracy(records),
        by_group=dict(sorted(groups.items(), key=lambda one: (-one[1].num_questions, one[0]))),
        by_age=_grouped(records, lambda record: age_of(record.evidence_age_s) or ""),
        by_task=_grouped(records, lambda record: record.task),
        latency=Latency(first_tokens) if first_tokens else None,
        ingest_fps=ingest_fps(costs),
        num_dropped=_sum_if_any(cost.num_dropped for cost in costs),
        num_aged=_sum_if_any(cost.num_aged for cost in costs),
        bytes_per_hour=bytes_per_hour(costs),
        fixed_bytes=max((c.fixed_bytes for c in costs if c.fixed_bytes is not None), default=None),
        peak_bytes=peak_bytes,
        peak_of=peak_of,
    )


def accuracy(records: Sequence[Scored]) -> Estimate:
    """Return the mean score in percent, clustered by video."""
    return estimate([Part(1.0, [Mark(record.video, record.score) for record in records])])


def _grouped(records: Iterable[Scored], key: Callable[[Scored], str]) -> dict[str, Estimate]:
    """Group by key, in order of first occurrence, omitting records without one."""
    groups: dict[str, list[Scored]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: accuracy(group) for name, group in groups.items() if name}


def _sum_if_any(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
