"""Reads an answer's times and captions as the official scorer does; it clips and sorts nothing.

Times are ranges `a - b` anywhere; else ranges `a to b`; else the first number of each line or
sentence that mentions a start or an end, two at a time. Captions (dvc, slc) are the text between
all ranges, paired with them in order; answers of other forms get another attempt, and finally one
event is read from the first line (or sentence) that has a time.
"""

import re
from typing import NamedTuple

from eval.etbench.sample import Interval

_KEYWORDS = ("start", "end", "happen")
"""The official list is longer, but each of its phrases contains one of these."""
RADIUS_S = 20
"""How far an event extends from the only time named for it."""
# Possessive and anchored at the first digit: otherwise a long row of digits takes n^2 tries.
NUMBER = r"(?<!\d)\d++(?:\.++\d*+)?"
RANGE = rf"({NUMBER})\s*-\s*({NUMBER})"


def answer_times(answer: object) -> tuple[Interval, ...]:
    """Return the spans in the answer's order, each with its start first; none if it failed."""
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


def spans_of(pairs: list[tuple[str, str]]) -> tuple[Interval, ...]:
    """Parse pairs of numbers. Raises ValueError for text that is no number, such as `12...`."""
    numbers = [(float(one), float(other)) for one, other in pairs]
    return tuple((min(pair), max(pair)) for pair in numbers)


class TimedCaption(NamedTuple):
    span: Interval
    caption: str


def answer_captions(answer: object) -> tuple[TimedCaption, ...]:
    """Return captions; none if the answer failed, such as where the official reader raises."""
    if not isinstance(answer, str):
        return ()
    try:
        return tuple(_captions(answer.lower()))
    except ValueError:
        return ()


def _captions(text: str) -> list[TimedCaption]:
    if re.search(RANGE, text):
        return _between_ranges(text) or _first_event(text)
    if found := _labelled(text):
        return found
    if re.search(rf"start time {NUMBER}, end time {NUMBER}", text):
        return []  # the official reader always raises on these
    return _first_event(text)


def _between_ranges(text: str) -> list[TimedCaption]:
    spans = spans_of(re.findall(RANGE, text))
    for found in re.finditer(RANGE, text):
        text = text.replace(found[0], "\n")
    return _paired(spans, text.replace("seconds", "").split("\n"))


def _paired(spans: tuple[Interval, ...], pieces: list[str]) -> list[TimedCaption]:
    captions = [piece.strip().strip(", ") for piece in pieces if len(piece) > 5]
    return [TimedCaption(*pair) for pair in zip(spans, captions, strict=False)]


def _labelled(text: str) -> list[TimedCaption]:
    starts = re.findall(rf"start(?:ing)? time: ({NUMBER})", text)
    ends = re.findall(rf"end(?:ing)? time: ({NUMBER})", text)
    spans = spans_of(list(zip(starts, ends, strict=False)))
    if not spans:
        return []
    captions = re.findall(r"description: (.*)", text) or re.findall(r"\*\s*(.*)", text)
    return _paired(spans, captions)


def _first_event(text: str) -> list[TimedCaption]:
    for piece in text.split("\n" if "\n" in text else "."):
        if len(piece) > 7:
            parts = [part.strip(",") for part in piece.split("seconds")]
            span = _span_in(parts[0])
            if span is not None:
                return [TimedCaption(span, parts[-1].strip().strip(", "))]
    return []


def _span_in(text: str) -> Interval | None:
    if found := re.search(RANGE, text):
        return spans_of([(found[1], found[2])])[0]
    if text.count(":") in (1, 2):
        clocks = re.findall(r"(?<!\d)(\d++)\s*:\s*(\d+)", text)
        if len(clocks) != text.count(":"):
            raise ValueError(f"no mm:ss in {text!r}")
        times = [60 * float(minutes) + float(seconds) for minutes, seconds in clocks]
    else:
        times = [float(number) for number in re.findall(NUMBER, text)]
    if len(times) > 2:
        raise ValueError(f"{len(times)} numbers in {text!r}")
    if len(times) == 2:
        return (min(times), max(times))
    if not times:
        return None
    start = times[0] - RADIUS_S if times[0] > RADIUS_S else times[0]
    return (start, start + 2 * RADIUS_S)
