"""Moment score: answers to vhd of one source in, how many name a moment of a highlight out."""

import re
from collections.abc import Sequence

from eval.etbench.sample import Answered, Figures

_SIGNED = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")


def moment_score(answered: Sequence[Answered]) -> Figures:
    """A moment within any span of any annotator is right, its ends included."""
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
    """The first number, in seconds; None if the answer names none."""
    first = _SIGNED.search(answer) if isinstance(answer, str) else None
    return None if first is None else float(first[0])
