"""estimate: the mean score of questions about videos, with its standard error.

Questions about one video are not independent, so the error is clustered by video, or by stream.
Source: Miller, Adding Error Bars to Evals (arXiv 2411.00640, section 2.2), with the usual factor
for few clusters of cluster-robust errors (CR1; Cameron and Miller, A Practitioner's Guide to
Cluster-Robust Inference, 2015). For an estimate T = sum over parts k of w[k] * mean of part k, with
n[k] scores x[i] of mean m[k] in part k, and G clusters over all parts,

    stderr = sqrt( G / (G - 1) * sum over clusters g of
                   ( sum over scores i in g of w[k(i)] * (x[i] - m[k(i)]) / n[k(i)] )^2 )

A plain mean is one part of weight 1. A mean of task means has one part per task: a video asked
about in several tasks then counts as one cluster, as it should. A single cluster shows no spread,
so it has no standard error.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eval.result_table import percent_cell


class Mark(NamedTuple):
    """The score of one question, and its video or stream."""

    cluster: str
    value: float


class Part(NamedTuple):
    """At least one mark; their mean counts with a weight."""

    weight: float
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Estimate:
    """In percent, or another unit; `stderr` is None if it cannot be known."""

    mean: float
    stderr: float | None
    num_questions: int

    def __str__(self) -> str:
        return percent_cell(self.mean, self.stderr)

    def document(self) -> dict[str, object]:
        """Return it rounded to what tables print."""
        stderr = None if self.stderr is None else round(self.stderr, 4)
        return {"value": round(self.mean, 4), "stderr": stderr, "questions": self.num_questions}


def estimate(parts: Sequence[Part], scale: float = 100.0) -> Estimate:
    """Return the mean of the parts and its error, both times `scale`."""
    residuals: defaultdict[str, float] = defaultdict(float)
    total = 0.0
    for weight, marks in parts:
        mean = statistics.fmean(value for _, value in marks)
        total += weight * mean
        for cluster, value in marks:
            residuals[cluster] += weight / len(marks) * (value - mean)
    clusters, squares = len(residuals), sum(one**2 for one in residuals.values())
    stderr = None if clusters < 2 else scale * math.sqrt(clusters / (clusters - 1) * squares)
    return Estimate(scale * total, stderr, sum(len(marks) for _, marks in parts))
