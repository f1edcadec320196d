"""Paired: how far two answers to each of the same questions differ, and how likely by chance.

Differences d[i] = score of B - score of A are taken question by question, so that a question's
difficulty cancels out; questions about one video are not independent.

- Standard error of the mean difference: that of the d[i], clustered by video (Miller, Adding Error
  Bars to Evals, arXiv 2411.00640: paired differences, clustered; `eval.clustered_error`).
- Main test: signs flipped at random, for all questions of a video together, with the sum of d as
  statistic (Winkler et al., Permutation inference for the general linear model, NeuroImage 2014:
  sign-flipping of whole exchangeability blocks). It assumes that under no difference a video's sum
  is as likely as its negative, and nothing about what happens within a video. With few videos, all
  2^G flips of G videos are counted; otherwise random ones. If G videos differ, p is at least 2/2^G.
- McNemar's exact test too (McNemar 1947: a two-sided sign test of the questions that changed), if
  all scores are right or wrong. It assumes independent questions: with several questions about a
  video its p is too small.
- A bootstrap interval: videos are drawn with replacement, all questions of each together, and 95 of
  100 mean differences lie in it (percentiles; Davison and Hinkley, Bootstrap Methods, 1997). With
  few videos it is too narrow, with one there is none.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.clustered_error import Mark, Part, estimate
from eval.run.scored import Scored

_MOST_EXACT = 14
_NUM_FLIPS = 50_000
_CLOSE = 1e-9
_NUM_DRAWS = 10_000


@dataclass(frozen=True)
class Change:
    before: Scored
    after: Scored

    @property
    def difference(self) -> float:
        return self.after.score - self.before.score


@dataclass(frozen=True)
class Paired:
    """Scores in percent. `stderr` is None for one video, `mcnemar_p` if scores are shares."""

    num_questions: int
    num_videos: int
    before_percent: float
    after_percent: float
    stderr: float | None
    flip_p: float
    mcnemar_p: float | None
    interval: tuple[float, float] | None
    changes: tuple[Change, ...]

    @property
    def difference(self) -> float:
        return self.after_percent - self.before_percent

    @property
    def num_better(self) -> int:
        return sum(change.difference > 0 for change in self.changes)

    @property
    def num_worse(self) -> int:
        return len(self.changes) - self.num_better


def paired(pairs: Sequence[tuple[Scored, Scored]]) -> Paired:
    """Compare at least one question, each scored before and after."""
    differences = [Mark(before.video, after.score - before.score) for before, after in pairs]
    by_video: defaultdict[str, float] = defaultdict(float)
    for mark in differences:
        by_video[mark.cluster] += mark.value
    changes = tuple(Change(*pair) for pair in pairs if pair[0].score != pair[1].score)
    is_binary = all(one.score in (0.0, 1.0) for pair in pairs for one in pair)
    num_better = sum(change.difference > 0 for change in changes)
    return Paired(
        num_questions=len(pairs),
        num_videos=len(by_video),
        before_percent=100 * sum(before.score for before, _ in pairs) / len(pairs),
        after_percent=100 * sum(after.score for _, after in pairs) / len(pairs),
        stderr=estimate([Part(1.0, differences)]).stderr,
        flip_p=flip_p(list(by_video.values())),
        mcnemar_p=mcnemar_p(num_better, len(changes) - num_better) if is_binary else None,
        interval=bootstrap_interval(differences),
        changes=changes,
    )


def flip_p(sums: Sequence[float]) -> float:
    """Return how probable a sum as far from 0 as that of `sums` is if every sign is a coin toss."""
    differing = np.array([value for value in sums if abs(value) > _CLOSE])
    if not len(differing):
        return 1.0
    observed = abs(float(differing.sum()))
    if len(differing) <= _MOST_EXACT:
        numbers = np.arange(2 ** len(differing))
        signs = 1 - 2 * ((numbers[:, None] >> np.arange(len(differing))) & 1)
        return float(np.mean(np.abs(signs @ differing) >= observed - _CLOSE))
    signs = 1 - 2 * np.random.default_rng(0).integers(0, 2, (_NUM_FLIPS, len(differing)))
    as_far = int(np.sum(np.abs(signs @ differing) >= observed - _CLOSE))
    return (1 + as_far) / (1 + _NUM_FLIPS)  # what was observed is one of the flips


def mcnemar_p(num_better: int, num_worse: int) -> float:
    """Return the two-sided exact p: each changed question is a toss of a fair coin."""
    total, fewer = num_better + num_worse, min(num_better, num_worse)
    tail: float = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    return min(1.0, 2 * tail)


def bootstrap_interval(differences: Sequence[Mark]) -> tuple[float, float] | None:
    """Return the interval of their mean, in percent, over clusters; None for a single one."""
    clusters: defaultdict[str, list[float]] = defaultdict(list)
    for mark in differences:
        clusters[mark.cluster].append(mark.value)
    if len(clusters) < 2:
        return None
    sums = np.array([sum(values) for values in clusters.values()])
    sizes = np.array([len(values) for values in clusters.values()])
    draws = np.random.default_rng(0).integers(0, len(sums), (_NUM_DRAWS, len(sums)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(100 * means, [2.5, 97.5])
    return float(low), float(high)
