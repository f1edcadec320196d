"""Answer captions: the text of a dvc or slc answer in, captions with their time spans out.

The official reading takes all ranges out of the text and pairs what is left between them with them
in order; for answers of other forms it has another attempt, and at last reads one event from the
first line (or sentence) that has a time.
"""

import re
from typing import NamedTuple

from eval.etbench.answer_times import NUMBER, RANGE, spans_of
from eval.etbench.sample import Span

RADIUS_S = 20
"""How far an event reaches from the one time that is named for it."""


class TimedCaption(NamedTuple):
    """One event of an answer."""

    span: Span
    caption: str


def answer_captions(answer: object) -> tuple[TimedCaption, ...]:
    """Empty if the answer has failed: what the official reader raises on counts as that."""
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


def _paired(spans: tuple[Span, ...], pieces: list[str]) -> list[TimedCaption]:
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


def _span_in(text: str) -> Span | None:
    """Raises ValueError for what the official reader raises on."""
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
    return _around(times[0]) if times else None


def _around(at_s: float) -> Span:
    if at_s > RADIUS_S:
        return (at_s - RADIUS_S, at_s + RADIUS_S)
    return (at_s, at_s + 2 * RADIUS_S)
