"""Grounding score: answers that name times (tvg, epm, tem, gvq, tal) in, how well they fit out."""

from collections.abc import Sequence

import numpy as np

from eval.etbench.answer_option import pick_grounded_option
from eval.etbench.answer_times import answer_times
from eval.etbench.official_crash import OfficialCrash
from eval.etbench.overlap import THRESHOLDS, overlaps
from eval.etbench.rules import Figures, Rules
from eval.etbench.sample import Answered, Span


def first_span_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """tvg and epm: the first span of the answer; `F1` is in fact the recall."""
    best = [best_overlap(one, rules) for one in answered]
    return _figures(best, "F1@", "F1")


def similar_moment_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """tem: the first span of the answer against the true one that it fits best."""
    best = [best_overlap(one, rules) for one in answered]
    return _figures(best, "R@", "mRec")


def grounded_answer_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """gvq: the first span counts where the option is right; only there its absence is a failure."""
    best: list[float | None] = []
    num_right = 0
    for one in answered:
        sample, answer = one
        picked = rules.read(
            sample, pick_grounded_option, sample, answer, rules.likeness, rules.mends
        )
        if picked is None or picked.option is None:
            best.append(None)
        elif picked.option != sample.p:
            best.append(0.0)
        else:
            num_right += 1
            best.append(best_overlap(one, rules))
    return {**_figures(best, "R@", "mRec"), "Acc": num_right / len(answered)}


def best_overlap(one: Answered, rules: Rules) -> float | None:
    """Of the answer's first span with a true one; None if it has failed."""
    spans = read_times(one, rules)
    if not spans:
        return None
    return float(np.nan_to_num(overlaps(spans[:1], one.sample.tgt)).max())


def read_times(one: Answered, rules: Rules) -> tuple[Span, ...] | None:
    """The answer's spans; None or nothing if it has failed."""
    return rules.read(one.sample, answer_times, one.answer, rules.mends)


def _figures(best: Sequence[float | None], at: str, mean: str) -> Figures:
    found = np.array([0.0 if one is None else one for one in best])
    hits = {f"{at}{threshold}": float(np.mean(found >= threshold)) for threshold in THRESHOLDS}
    return {
        "Total": len(best),
        "Failed": sum(one is None for one in best),
        "mIoU": float(found.mean()),
        **hits,
        mean: float(np.mean(list(hits.values()))),
    }


def action_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """tal: every span of the answer against every true one, many to many."""
    found = [action_f1(one, rules) for one in answered]
    at = np.mean([one or [0.0] * len(THRESHOLDS) for one in found], axis=0)
    return {
        "Total": len(answered),
        "Failed": sum(one is None for one in found),
        **{f"F1@{threshold}": float(f1) for threshold, f1 in zip(THRESHOLDS, at, strict=True)},
        "F1": float(at.mean()),
    }


def action_f1(one: Answered, rules: Rules) -> list[float] | None:
    """At each threshold; None if the answer has failed."""
    spans = read_times(one, rules)
    if not spans:
        return None
    return rules.read(one.sample, _f1_at_thresholds, one.sample.tgt, spans)


def _f1_at_thresholds(true: Sequence[Span], found: Sequence[Span]) -> list[float]:
    overlap = overlaps(true, found)
    scores = []
    for threshold in THRESHOLDS:
        if overlap.max() < np.float32(threshold):
            scores.append(0.0)
            continue
        recall = np.mean(overlap.max(axis=1) >= np.float32(threshold))
        precision = np.mean(overlap.max(axis=0) >= np.float32(threshold))
        if recall + precision == 0:
            raise OfficialCrash("ZeroDivisionError", "spans without length overlap 0/0")
        scores.append(float(2 * recall * precision / (recall + precision)))
    return scores
