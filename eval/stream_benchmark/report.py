"""ContenderReport: what came of one contender, as one document of all figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eval.run.cost import Cost, bytes_per_hour, ingest_fps
from eval.run.summary import Estimate
from eval.stream_benchmark.figures import Figures, figures
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.watches import WatchFigures


@dataclass(frozen=True)
class ContenderReport:
    """What there is to say about one contender; `costs` and `hours` are those of its streams.

    A baseline has no watches, and costs in which nothing was measured. `hours`: what was kept at
    every full hour and at the end, see `eval.play.kept.Kept`.
    """

    records: Sequence[Record]
    costs: Sequence[Cost] = ()
    watches: WatchFigures | None = None
    hours: Sequence[Mapping[str, Any]] = ()

    @cached_property
    def figures(self) -> Figures:
        return figures(self.records)

    def document(self) -> dict[str, Any]:
        """Percent, but shares for recall and for what is still held; what grows in bytes."""
        found = self.figures
        grouped = {**found.groups, **found.by_age}
        return {
            **{name: _percent(group) for name, group in found.groups.items()},
            "times_exact": _rounded(found.times_exact, 2),
            "by_kind": {kind: _percent(group) for kind, group in found.by_kind.items()},
            "by_age": {age: _percent(group) for age, group in found.by_age.items()},
            "stderr": {name: g and _rounded(g.stderr, 2) for name, g in grouped.items()},
            "held_by_age": {age: _rounded(held, 4) for age, held in found.held_by_age.items()},
            "recall": None if found.recall is None else [round(r, 4) for r in found.recall],
            "bytes_per_hour": _rounded(bytes_per_hour(self.costs), 0),
            "ingest_fps": _rounded(ingest_fps(self.costs), 1),
            "ttft_ms": _rounded(found.ttft_ms, 2),
            "questions": found.num_questions,
            "hours": list(self.hours),
            **({} if self.watches is None else {"watches": self.watches.document()}),
        }


def _percent(found: Estimate | None) -> float | None:
    return None if found is None else round(found.percent, 2)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
