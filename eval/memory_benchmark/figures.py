"""MemoryFigures: the figures of one contender, from what was kept and said.

Each contender is paired with the reference, which keeps everything exactly.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

from eval.memory_benchmark.play import PARTS
from eval.run.paired import Paired, paired
from eval.run.scored import AGES_S, age_of
from eval.stream_benchmark.figures import RECALLED_KINDS
from eval.stream_benchmark.record import Record
from eval.stream_world.past import PAST

ONE_MOMENT = ("after", "at_time", "before", "last_minute")
"""Kinds that ask for one moment, not for the first, the last or all of several."""
_HOUR_FRAMES = 3600
Document = Mapping[str, Any]


@dataclass(frozen=True)
class MemoryFigures:
    """`kept` and `said` are documents of `play_stream`, `records` in the order of `said`; `before`
    holds the reference by question.
    """

    name: str
    kept: Sequence[Document]
    said: Sequence[Document]
    records: Sequence[Record]
    before: Mapping[str, Record]

    @cached_property
    def bytes_per_hour(self) -> dict[str, float]:
        """By part: what the second half of the streams added to what is kept."""
        frames = sum(one["num_frames"] - one["half_frame"] for one in self.kept)
        return {
            part: sum(one["all_bytes"][part] - one["half_bytes"][part] for one in self.kept)
            * (_HOUR_FRAMES / frames)
            for part in PARTS
        }

    @property
    def grows(self) -> float:
        return sum(self.bytes_per_hour.values())

    @property
    def in_all(self) -> float:
        """Bytes at the end per hour of stream, including what is kept whatever the length."""
        return _HOUR_FRAMES * self._per_frame(lambda one: sum(one["all_bytes"].values()))

    @property
    def raw(self) -> float:
        """Bytes per hour of all keys and values as bf16."""
        return _HOUR_FRAMES * self._per_frame(itemgetter("raw_bytes"))

    @property
    def ingest_cpu_ms(self) -> float:
        """Per frame, without tower and picture."""
        return 1000 * self._per_frame(itemgetter("ingest_cpu_s"))

    @property
    def question_cpu_ms(self) -> float:
        return float(statistics.median(one["cpu_ms"] for one in self.said))

    @property
    def context_tokens(self) -> float:
        return statistics.fmean(one["context_tokens"] or 0 for one in self.said)

    @property
    def kl(self) -> tuple[float, float, float]:
        """Mean and median, in nats, and the share of questions with the same first token."""
        found = [one["kl"] for one in self.said]
        same = statistics.fmean(one["is_same"] for one in self.said)
        return statistics.fmean(found), statistics.median(found), same

    def _per_frame(self, value: Callable[[Document], float]) -> float:
        frames: int = sum(one["num_frames"] for one in self.kept)
        return sum(map(value, self.kept)) / frames

    def compared(self, wants: Callable[[Record], bool]) -> Paired | None:
        """Compare with the reference over those questions; None if there are none."""
        pairs = [
            (self.before[one.scored.question_id].scored, one.scored)
            for one in self.records
            if wants(one) and one.scored.question_id in self.before
        ]
        return paired(pairs) if pairs else None

    def recall(self, wants: Callable[[Record], bool]) -> tuple[float, ...] | None:
        """Return recall by layer, over those questions whose evidence a memory must find."""
        found = [
            one.recall
            for one in self.records
            if one.recall and one.scored.task in RECALLED_KINDS and wants(one)
        ]
        return tuple(map(statistics.fmean, zip(*found, strict=True))) if found else None

    def document(self) -> dict[str, Any]:
        """Return bytes per hour, shares of 1, milliseconds, nats and percentage points."""
        mean, median, same = self.kl
        past = self.compared(is_past)
        return {
            "bytes_per_hour": {part: round(num) for part, num in self.bytes_per_hour.items()},
            "in_all": round(self.in_all),
            "raw": round(self.raw),
            "kl": {"mean": mean, "median": median, "same_first_token": same},
            "past": past
            and {
                "questions": past.num_questions,
                "percent": past.after_percent,
                "difference": past.difference,
                "interval": past.interval,
                "mcnemar_p": past.mcnemar_p,
            },
            "recall": self.recall(lambda one: True),
            "recall_by_age": {age: mean_of(self.recall(of_age(age))) for age in AGES_S},
            "one_moment_by_age": {
                age: mean_of(self.recall(of_age(age, ONE_MOMENT))) for age in AGES_S
            },
            "cpu_ms": {"frame": self.ingest_cpu_ms, "question": self.question_cpu_ms},
        }


def is_past(record: Record) -> bool:
    return record.scored.task in PAST


def of_kind(kind: str) -> Callable[[Record], bool]:
    return lambda one: one.scored.task == kind


def of_age(age: str, kinds: Iterable[str] = tuple(PAST)) -> Callable[[Record], bool]:
    """Return a test for questions of these kinds with evidence of that age; see AGES_S."""
    among = frozenset(kinds)
    return lambda one: one.scored.task in among and age_of(one.scored.evidence_age_s) == age


def mean_of(by_layer: Sequence[float] | None) -> float | None:
    return None if by_layer is None else statistics.fmean(by_layer)
