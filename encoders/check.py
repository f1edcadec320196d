"""Check: a question that tells, by what a model says to it, whether a statement is so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Without an `answer` it is so where the model says yes, as to a standing question.

    With one it is so where the model says just these words. They count as much as a yes that is as
    probable as the family's `find_threshold` where they are as probable as `least`.
    """

    question: str
    answer: str = ""
    least: float = 0.5
