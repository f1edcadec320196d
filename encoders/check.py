"""Check: a question that tells, by what a model says to it, whether a statement is so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Without an `answer` it is so where the model says yes, as to a standing question.

    With one it is so where the model says just these words. They count as much as a yes that is as
    probable as the family's `find_threshold` where they are as probable as `least`.

    With a `name` the question asks for all that is there, and it is so where the model comes to say
    the name's first word at all: where that was as probable as `least` at any word. As this takes a
    pass for each word said, it is only asked of the blocks that decide a span.
    """

    question: str
    answer: str = ""
    least: float = 0.5
    name: str = ""
