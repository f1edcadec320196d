"""Citation figures: how well contenders' answers cite the evidence, by its age.

Over questions about the past in ordinary wordings, except `seen_yet`, which any sighting proves.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from eval.result_table import ResultTable
from eval.run.scored import AGES_S, age_of
from eval.stream_benchmark.citations import MOMENTS, MOST, SPANS, Citation
from eval.stream_benchmark.record import PAST_GROUP, Record

ALL = "all"


@dataclass(frozen=True)
class CitationFigure:
    """Means, as shares of 1."""

    recall: float
    iou: float
    questions: int

    @classmethod
    def of(cls, found: Sequence[Citation]) -> "CitationFigure | None":
        """Return None without citations."""
        if not found:
            return None
        recall = statistics.fmean(one.recall for one in found)
        iou = statistics.fmean(one.iou for one in found)
        return cls(round(recall, 4), round(iou, 4), len(found))

    def __str__(self) -> str:
        return f"{self.recall:.2f} / {self.iou:.2f} of {self.questions}"


CitationFigures = Mapping[str, Mapping[str, CitationFigure | None]]
"""By SPANS and MOMENTS, then by age."""


def citation_figures(records: Sequence[Record]) -> CitationFigures:
    asked = [r for r in records if r.scored.group == PAST_GROUP and r.scored.task != "seen_yet"]
    by_age = {ALL: asked} | {
        age: [one for one in asked if age_of(one.scored.evidence_age_s) == age] for age in AGES_S
    }
    return {
        kind: {
            age: CitationFigure.of([one.citations[kind] for one in of if kind in one.citations])
            for age, of in by_age.items()
        }
        for kind in (SPANS, MOMENTS)
    }


def citation_document(records: Sequence[Record]) -> dict[str, dict[str, object]]:
    return {
        kind: {age: found and asdict(found) for age, found in of.items()}
        for kind, of in citation_figures(records).items()
    }


def citation_table(by_contender: Mapping[str, Sequence[Record]]) -> ResultTable | None:
    """Return two rows per contender that cites anything, one column per age; None without any."""
    rows = {
        f"{name}: {kind}": of
        for name, records in by_contender.items()
        for kind, of in citation_figures(records).items()
        if of[ALL]
    }
    title = f"Citations: recall@{MOST} / IoU of questions about the past, by age"
    note = "spans: where the answer's words looked; moments: the blocks most like the question"
    return ResultTable.of(title, rows, note, corner="contender: cited") if rows else None
