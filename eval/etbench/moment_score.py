"""Moment score: answers to vhd of one source in, how many name a moment of a highlight out."""

from collections.abc import Sequence

from eval.etbench.answer_moment import answer_moment
from eval.etbench.rules import Figures, Rules
from eval.etbench.sample import Answered


def moment_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """A moment within any span of any annotator is right, its ends included."""
    moments = [
        rules.read(sample, answer_moment, answer, rules.mends) for sample, answer in answered
    ]
    hits = sum(
        at_s is not None and any(start <= at_s <= end for start, end in sample.tgt)
        for at_s, (sample, _) in zip(moments, answered, strict=True)
    )
    return {
        "Total": len(answered),
        "Failed": sum(at_s is None for at_s in moments),
        "F1": hits / len(answered),
    }
