"""Answer captions: the text of a dvc or slc answer in, captions with their time spans out.

The official reading takes all ranges out of the text and pairs what is left between them with them
in order; for answers of other forms it has two more attempts, and at last reads one event from the
first line (or sentence) that has a time.
"""

import re
from itertools import pairwise
from typing import NamedTuple

from eval.etbench.answer_times import (
    NUMBER,
    number_pattern,
    range_pattern,
    seconds_of,
    spans_of,
)
from eval.etbench.mend import Mend, Mends
from eval.etbench.official_crash import OfficialCrash
from eval.etbench.sample import Span

RADIUS_S = 20
"""How far an event reaches from the one time that is named for it."""


class TimedCaption(NamedTuple):
    """One event of an answer."""

    span: Span
    caption: str


def answer_captions(answer: object, mends: Mends) -> tuple[TimedCaption, ...]:
    """Empty if the answer has failed: what the official reader raises on counts as that."""
    if not isinstance(answer, str):
        return ()
    text = answer.lower()
    try:
        return tuple(_captions(text, mends))
    except (OfficialCrash, ValueError):
        return ()


def _captions(text: str, mends: Mends) -> list[TimedCaption]:
    if re.search(range_pattern(mends), text):
        follows = Mend.CAPTION_FOLLOWS_ITS_TIME in mends
        found = _following_ranges(text, mends) if follows else _between_ranges(text, mends)
    else:
        found = _labelled(text, mends) or _start_time_words(text, mends)
    return found or _first_event(text)


def _between_ranges(text: str, mends: Mends) -> list[TimedCaption]:
    pattern = range_pattern(mends)
    spans = spans_of(re.findall(pattern, text), mends)
    for found in re.finditer(pattern, text):
        text = text.replace(found[0], "\n")
    return _paired(spans, text.replace("seconds", "").split("\n"))


def _paired(spans: tuple[Span, ...], pieces: list[str]) -> list[TimedCaption]:
    captions = [piece.strip().strip(", ") for piece in pieces if len(piece) > 5]
    return [TimedCaption(*pair) for pair in zip(spans, captions, strict=False)]


def _following_ranges(text: str, mends: Mends) -> list[TimedCaption]:
    """A range stands at the start of a line, before a unit, or before punctuation or an end."""
    places = [
        place
        for place in re.finditer(range_pattern(mends), text)
        if not text[: place.start()].rpartition("\n")[2].strip(" *-(['\"")
        or re.match(r"\s*(?:s|secs?|seconds?)\b|\s*(?:[,:;.)\]'\"]|$)", text[place.end() :])
    ]
    edges = [*(place.start() for place in places), len(text)]
    found = []
    for place, (_, end) in zip(places, pairwise(edges), strict=True):
        caption = re.sub(r"^\s*(?:s|secs?|seconds?)\b", "", text[place.end() : end])
        caption = re.sub(r"\bfrom\s*$", "", caption).strip(" \n\t,:;-)(][*'\"")
        found += [TimedCaption(span, caption) for span in spans_of([(place[1], place[2])], mends)]
    return found


def _labelled(text: str, mends: Mends) -> list[TimedCaption]:
    number = number_pattern(mends)
    starts = re.findall(rf"start(?:ing)? time: ({number})", text)
    ends = re.findall(rf"end(?:ing)? time: ({number})", text)
    spans = spans_of(list(zip(starts, ends, strict=False)), mends)
    if not spans:
        return []
    captions = re.findall(r"description: (.*)", text) or re.findall(r"\*\s*(.*)", text)
    return _paired(spans, captions)


def _start_time_words(text: str, mends: Mends) -> list[TimedCaption]:
    number = number_pattern(mends)
    pattern = rf"start time ({number})(?: seconds)?, end time ({number})"
    if Mend.START_TIME_WORDS not in mends:
        if re.search(rf"start time {NUMBER}, end time {NUMBER}", text):
            raise OfficialCrash("AssertionError", "times without captions")
        return []
    places = list(re.finditer(pattern, text))
    edges = [*(place.start() for place in places), len(text)]
    found = []
    for place, (_, end) in zip(places, pairwise(edges), strict=True):
        caption = re.sub(r"^\s*seconds\b", "", text[place.end() : end]).strip(" \n\t,:;.-")
        found += [TimedCaption(span, caption) for span in spans_of([(place[1], place[2])], mends)]
    return found


def _first_event(text: str) -> list[TimedCaption]:
    for piece in text.split("\n" if "\n" in text else "."):
        if len(piece) > 7:
            parts = [part.strip(",") for part in piece.split("seconds")]
            span = _span_in(parts[0])
            if span is not None:
                return [TimedCaption(span, parts[-1].strip().strip(", "))]
    return []


def _span_in(text: str) -> Span | None:
    """Raises OfficialCrash or ValueError for what the official reader raises on."""
    if found := re.search(range_pattern(frozenset()), text):
        return spans_of([(found[1], found[2])], frozenset())[0]
    if text.count(":") in (1, 2):
        clocks = re.findall(r"(?<!\d)\d++\s*:\s*\d+", text)
        if len(clocks) != text.count(":"):
            raise OfficialCrash("ValueError", f"no mm:ss in {text!r}")
        times = [seconds_of(clock, frozenset()) for clock in clocks]
    else:
        times = [seconds_of(number, frozenset()) for number in re.findall(NUMBER, text)]
    if len(times) > 2:
        raise OfficialCrash("IndexError", f"{len(times)} numbers in {text!r}")
    if len(times) == 2:
        return (min(times), max(times))
    return _around(times[0]) if times else None


def _around(at_s: float) -> Span:
    if at_s > RADIUS_S:
        return (at_s - RADIUS_S, at_s + RADIUS_S)
    return (at_s, at_s + 2 * RADIUS_S)
