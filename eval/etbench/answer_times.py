"""Answer times: the text of an answer in, the time spans that the official scorer reads out.

Ranges `a - b` anywhere; else ranges `a to b`; else the first number of each line or sentence that
speaks of a start or an end, two at a time. Nothing is clipped, sorted or merged.
"""

import re

from eval.etbench.sample import Span

# Possessive, and from the first digit on: an endless row of digits is else tried in n^2 ways.
NUMBER = r"(?<!\d)\d++(?:\.++\d*+)?"
RANGE = rf"({NUMBER})\s*-\s*({NUMBER})"

_KEYWORDS = ("start", "end", "happen")
"""The official list is longer, but each of its phrases holds one of these."""


def answer_times(answer: object) -> tuple[Span, ...]:
    """The spans in the order of the answer, each with its start first; none if it has failed."""
    if not isinstance(answer, str):
        return ()
    text = answer.lower()
    pairs = re.findall(RANGE, text) or re.findall(rf"({NUMBER})\s* to \s*({NUMBER})", text)
    try:
        return spans_of(pairs or _keyword_pairs(text))
    except ValueError:
        return ()


def _keyword_pairs(text: str) -> list[tuple[str, str]]:
    pieces = (
        piece for piece in re.split(r"[!?\n]", text) if any(word in piece for word in _KEYWORDS)
    )
    first = r"\b(\d+\.\d+\b|\b\d+)\b"
    numbers = [found[1] for piece in pieces if (found := re.search(first, piece))]
    return list(zip(numbers[::2], numbers[1::2], strict=False))


def spans_of(pairs: list[tuple[str, str]]) -> tuple[Span, ...]:
    """Two numbers each, as text, in. Raises ValueError for one that is no number, as `12...`."""
    numbers = [(float(one), float(other)) for one, other in pairs]
    return tuple((min(pair), max(pair)) for pair in numbers)
