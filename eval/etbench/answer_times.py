"""Answer times: the text of an answer in, the time spans that the official scorer reads out.

Ranges `a - b` anywhere; else ranges `a to b`; else the first number of each line or sentence that
speaks of a start or an end, two at a time. Nothing is clipped, sorted or merged.
"""

import re

from eval.etbench.mend import Mend, Mends
from eval.etbench.official_crash import OfficialCrash
from eval.etbench.sample import Span

# Possessive, and from the first digit on: an endless row of digits is else tried in n^2 ways.
NUMBER = r"(?<!\d)\d++(?:\.++\d*+)?"
CLOCK = r"(?<!\d)(?:\d++:)?\d++:\d{2}(?:\.\d++)?"

_KEYWORDS = ("start", "end", "happen")
"""The official list is longer, but each of its phrases holds one of these."""


def number_pattern(mends: Mends) -> str:
    """The pattern of one time; with its mend also `mm:ss` and `hh:mm:ss`."""
    return f"(?:{CLOCK}|{NUMBER})" if Mend.CLOCK_TIMES in mends else NUMBER


def range_pattern(mends: Mends) -> str:
    """The pattern of `a - b`, with a and b as its groups."""
    number = number_pattern(mends)
    return rf"({number})\s*-\s*({number})"


def answer_times(answer: object, mends: Mends) -> tuple[Span, ...]:
    """The spans in the order of the answer, each with its start first; none if it has failed."""
    if not isinstance(answer, str):
        raise OfficialCrash("AttributeError", f"the answer is {type(answer).__name__}, not text")
    text = answer.lower()
    number = number_pattern(mends)
    pairs = re.findall(range_pattern(mends), text)
    if not pairs:
        pairs = re.findall(rf"({number})\s* to \s*({number})", text)
    if not pairs:
        pairs = _keyword_pairs(text, mends)
    return spans_of(pairs, mends)


def _keyword_pairs(text: str, mends: Mends) -> list[tuple[str, str]]:
    first = r"\b(\d+\.\d+\b|\b\d+)\b"
    if Mend.CLOCK_TIMES in mends:
        first = rf"\b({CLOCK}|\d+\.\d+\b|\b\d+)\b"
    pieces = (
        piece for piece in re.split(r"[!?\n]", text) if any(word in piece for word in _KEYWORDS)
    )
    numbers = [found[1] for piece in pieces if (found := re.search(first, piece))]
    return list(zip(numbers[::2], numbers[1::2], strict=False))


def spans_of(pairs: list[tuple[str, str]], mends: Mends) -> tuple[Span, ...]:
    """Two numbers each, as text, in; raises OfficialCrash for one that is no number."""
    spans = []
    for start, end in pairs:
        try:
            one, other = seconds_of(start, mends), seconds_of(end, mends)
        except ValueError as error:
            if Mend.TRAILING_DOTS in mends:
                continue
            raise OfficialCrash("ValueError", str(error)) from error
        spans.append((min(one, other), max(one, other)))
    return tuple(spans)


def seconds_of(text: str, mends: Mends) -> float:
    """A number, or a time of the clock, as seconds. Raises ValueError."""
    if Mend.TRAILING_DOTS in mends:
        text = text.rstrip(".")
    if ":" not in text:
        return float(text)
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
