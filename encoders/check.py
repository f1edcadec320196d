"""Check: a question whose answer shows whether a statement holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """Without an `answer`, the statement holds if the model says yes, as to a standing question.

    With an `answer`, it holds if the model says exactly these words. At probability `least` they
    count as much as a yes at the family's `find_threshold`.

    With a `name`, the question asks for everything visible. It holds if the name's first word
    reached probability `least` at any word of the answer. This takes one pass per word, so only the
    blocks that decide a span are asked it.
    """

    question: str
    answer: str = ""
    least: float = 0.5
    name: str = ""
