"""clustered_stderr: the standard error of the mean score of questions about videos.

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


@dataclass(frozen=True)
class Mark:
    """The score of one question, and its video or stream."""

    cluster: str
    value: float


@dataclass(frozen=True)
class Part:
    """At least one mark; their mean counts with a weight."""

    weight: float
    marks: Sequence[Mark]

    @property
    def mean(self) -> float:
        return statistics.fmean(mark.value for mark in self.marks)


def weighted_mean(parts: Sequence[Part]) -> float:
    return sum(part.weight * part.mean for part in parts)


def clustered_stderr(parts: Sequence[Part]) -> float | None:
    """Return the error in the marks' unit; None if it cannot be known."""
    residuals: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        mean, share = part.mean, part.weight / len(part.marks)
        for mark in part.marks:
            residuals[mark.cluster] += share * (mark.value - mean)
    clusters = len(residuals)
    if clusters < 2:
        return None
    squares = sum(residual**2 for residual in residuals.values())
    return math.sqrt(clusters / (clusters - 1) * squares)
