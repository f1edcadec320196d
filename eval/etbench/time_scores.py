"""Scores answers that name times (tvg, epm, tem, gvq, tal, vhd, evs) by how well these fit."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eval.etbench.answers import answer_times
from eval.etbench.option_score import pick_grounded_option
from eval.etbench.sample import Answered, Figures, Interval
from eval.etbench.sentence_likeness import SentenceLikeness

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
LENGTH_S = 1000
"""Anything beyond is dropped, as officially."""
_SIGNED = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")


def overlaps(
    spans: Sequence[Interval], others: Sequence[Interval]
) -> Float[np.ndarray, "spans others"]:
    """Compute in float32, like the official scorer; nan if both are empty and touch. A Python float
    0.7 is more than an overlap of seven tenths; in float32, as for tal, it is not.
    """
    with np.errstate(all="ignore"):
        a = np.asarray(spans, np.float32)[:, None]
        b = np.asarray(others, np.float32)[None]
        shared = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
        shared = np.maximum(shared, np.float32(0))
        lengths = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0])
        overlap: Float[np.ndarray, "spans others"] = shared / (lengths - shared)
        return overlap


def caption_overlaps(
    spans: Sequence[Interval], others: Sequence[Interval]
) -> Float[np.ndarray, "spans others"]:
    """Compute in float64, never nan, as dvc and slc are scored."""
    with np.errstate(all="ignore"):
        a, b = np.asarray(spans, np.float64)[:, None], np.asarray(others, np.float64)[None]
        start, end = np.maximum(a[..., 0], b[..., 0]), np.minimum(a[..., 1], b[..., 1])
        shared = np.maximum(end - start, 0)
        hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
        lengths = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0])
        union = np.minimum(hull, lengths)
        overlap: Float[np.ndarray, "spans others"] = shared / (union + 1e-8)
        return np.where(np.isfinite(overlap), overlap, 0.0)


def first_span_score(answered: Sequence[Answered]) -> Figures:
    """tvg and epm: the answer's first span; `F1` is in fact the recall."""
    return _figures([_best_overlap(one) for one in answered], "F1@", "F1")


def similar_moment_score(answered: Sequence[Answered]) -> Figures:
    """tem: the answer's first span against the true one it fits best."""
    return _figures([_best_overlap(one) for one in answered], "R@", "mRec")


def grounded_answer_score(answered: Sequence[Answered], likeness: SentenceLikeness) -> Figures:
    """gvq: the first span counts if the option is right; only then is a missing one a failure."""
    best: list[float | None] = []
    num_right = 0
    for one in answered:
        picked = pick_grounded_option(*one, likeness)
        if picked is None or picked.option is None:
            best.append(None)
        elif picked.option != one.sample.p:
            best.append(0.0)
        else:
            num_right += 1
            best.append(_best_overlap(one))
    return {**_figures(best, "R@", "mRec"), "Acc": num_right / len(answered)}


def _best_overlap(one: Answered) -> float | None:
    """Return the answer's first span's best overlap with a true one; None if it failed."""
    spans = answer_times(one.answer)
    if not spans:
        return None
    return float(np.nan_to_num(overlaps(spans[:1], one.sample.tgt)).max())


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


def action_score(answered: Sequence[Answered]) -> Figures:
    """tal: every span of the answer against every true one, many to many."""
    spans = [answer_times(answer) for _, answer in answered]
    found = [
        _f1_at_thresholds(one.sample.tgt, own) if own else None
        for one, own in zip(answered, spans, strict=True)
    ]
    at = np.mean([one or [0.0] * len(THRESHOLDS) for one in found], axis=0)
    return {
        "Total": len(answered),
        "Failed": sum(one is None for one in found),
        **{f"F1@{threshold}": float(f1) for threshold, f1 in zip(THRESHOLDS, at, strict=True)},
        "F1": float(at.mean()),
    }


def _f1_at_thresholds(true: Sequence[Interval], found: Sequence[Interval]) -> list[float] | None:
    """Return None if empty spans overlap 0/0, where the official scorer raises."""
    overlap = overlaps(true, found)
    scores = []
    for threshold in THRESHOLDS:
        if overlap.max() < np.float32(threshold):
            scores.append(0.0)
            continue
        recall = np.mean(overlap.max(axis=1) >= np.float32(threshold))
        precision = np.mean(overlap.max(axis=0) >= np.float32(threshold))
        if recall + precision == 0:
            return None
        scores.append(float(2 * recall * precision / (recall + precision)))
    return scores


def moment_score(answered: Sequence[Answered]) -> Figures:
    """vhd: a moment within any annotator's span is right, its ends included."""
    moments = [answer_moment(answer) for _, answer in answered]
    hits = sum(
        at_s is not None and any(start <= at_s <= end for start, end in sample.tgt)
        for at_s, (sample, _) in zip(moments, answered, strict=True)
    )
    return {
        "Total": len(answered),
        "Failed": sum(at_s is None for at_s in moments),
        "F1": hits / len(answered),
    }


def answer_moment(answer: object) -> float | None:
    """Return the first number, in seconds; None if the answer has none."""
    first = _SIGNED.search(answer) if isinstance(answer, str) else None
    return None if first is None else float(first[0])


def summary_score(answered: Sequence[Answered]) -> Figures:
    """Return the mean over the answers with times."""
    scores = [summary_f1(one) for one in answered]
    counted = [one for one in scores if one is not None]
    return {
        "Total": len(scores),
        "Failed": len(scores) - len(counted),
        "F1": sum(counted) / len(counted) if counted else 0.0,
    }


def summary_f1(one: Answered) -> float | None:
    """Return F1 over whole seconds of answer and truth; None if the answer failed."""
    true, found = one.sample.tgt, answer_times(one.answer)
    if not found:
        return None
    try:
        num_true, num_found, num_any = _count(true), _count(found), _count([*true, *found])
    except OverflowError:  # an infinite number, on which the official scorer raises
        return None
    shared = num_true + num_found - num_any
    return 2 * shared / (num_true + num_found) if shared else 0.0


def _count(spans: Sequence[Interval]) -> int:
    """Count the whole seconds that the spans cover; ends are rounded half to even."""
    count = reached = 0
    for start, end in sorted(
        (max(0, round(start)), min(LENGTH_S, round(end))) for start, end in spans
    ):
        count += max(0, end - max(start, reached))
        reached = max(reached, end)
    return count
