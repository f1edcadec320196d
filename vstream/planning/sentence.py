"""sentence: writes the answer to a question about time from the spans that were found.

All times and numbers are those of spans: by a clock if there is a zone, else in stream time, such
as `0h12m05s`. If a part that could change the answer was neither judged nor excluded, it says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

from vstream.planning.time_question import TimeQuestion
from vstream.search.hunter import FoundSpan
from vstream.search.stretch_blocks import Covered
from vstream.times.named_time import written_time

Words = Callable[[float, float], str]
"""Writes a moment, given in seconds of the stream and since the epoch."""
_MOST_SPANS = 5
"""More spans are counted but not listed."""
_AS_FAR = ", as far as I looked"


@dataclass(frozen=True)
class Known:
    """What was found of one statement. `unseen` are the parts neither judged nor excluded; with
    `is_so_now` the last span reaches the moment of asking.
    """

    spans: Sequence[FoundSpan]
    unseen: Sequence[Covered]
    is_so_now: bool = False

    def within(self, bounds: Sequence[tuple[float, float]]) -> "Known":
        """Keep only what lies in these stretches of the stream, which are disjoint and in order."""
        spans = [
            _clipped(span, max(from_s, span.from_s), min(to_s, span.to_s))
            for span in self.spans
            for from_s, to_s in bounds
            if max(from_s, span.from_s) < min(to_s, span.to_s)
        ]
        is_so_now = bool(spans) and self.is_so_now and spans[-1].to_s == self.spans[-1].to_s
        return Known(spans, self.unseen, is_so_now)


def related(question: TimeQuestion, one: Known, other: Known | None) -> Known:
    """Return the part of `one` that counts, as `question` relates it to `other`."""
    if question.relation is None or other is None or question.other is None:
        return one
    unseen = [*one.unseen, *other.unseen]
    bounds = [(span.from_s, span.to_s) for span in other.spans]
    if bounds and question.relation != "while":
        edge_s = bounds[-1][1] if question.other.is_over else bounds[0][0]
        bounds = [(-inf, edge_s) if question.relation == "before" else (edge_s, inf)]
    return replace(one.within(bounds), unseen=unseen)


def sentence(question: TimeQuestion, known: Sequence[Known], words: Words) -> str:
    """Write the answer; `known` is what was found of each of the question's clauses."""
    if question.kind == "order":
        return _order(question, known, words)
    (one,) = known
    if not one.spans:
        never = "No, never" if question.kind == "ever" else "Never"
        return f"{never}{_AS_FAR if one.unseen else ''}."
    write = {
        "first": _first,
        "last": _last,
        "when": _when,
        "count": _count,
        "length": _length,
        "ever": _ever,
    }[question.kind]
    return write(question, one, words)


def words_in(zone: ZoneInfo | None, now: datetime | None) -> Words:
    """Write times of a clock in `zone`, with the day unless it is `now`'s; without, stream time."""

    def by_clock(stream_s: float, epoch_s: float) -> str:
        at = datetime.fromtimestamp(epoch_s, zone)
        day = "" if now is not None and at.date() == now.date() else f" on {at.day} {at:%B %Y}"
        return f"{at:%H:%M:%S}{day}"

    return (lambda stream_s, _: written_time(stream_s)) if zone is None else by_clock


def _ever(question: TimeQuestion, one: Known, words: Words) -> str:
    return f"Yes, {_span(one.spans[0], words)}."


def _first(question: TimeQuestion, one: Known, words: Words) -> str:
    first = one.spans[0]
    is_sure = all(part.from_s >= first.from_s for part in one.unseen)
    return f"At {_start(first, words)}{'' if is_sure else _AS_FAR}."


def _last(question: TimeQuestion, one: Known, words: Words) -> str:
    last = one.spans[-1]
    is_sure = all(part.to_s <= last.to_s for part in one.unseen)
    if one.is_so_now:
        return "Not yet, it is so right now." if question.clauses[0].is_over else "Right now."
    return f"At {_end(last, words)}{'' if is_sure else _AS_FAR}."


def _when(question: TimeQuestion, one: Known, words: Words) -> str:
    spans, unsure = one.spans, _AS_FAR if one.unseen else ""
    if len(spans) > _MOST_SPANS:
        first, last = _span(spans[0], words), _span(spans[-1], words)
        return f"{len(spans)} times, first {first} and last {last}{unsure}."
    listed = _listed([_span(span, words) for span in spans])
    return f"{listed[0].upper()}{listed[1:]}{unsure}."


def _count(question: TimeQuestion, one: Known, words: Words) -> str:
    spans = one.spans
    many = "Once" if len(spans) == 1 else f"{len(spans)} times"
    at = _listed([_start(span, words) for span in spans])
    listed = "" if len(spans) > _MOST_SPANS else f", at {at}"
    return f"At least {many.lower()}{listed}." if one.unseen else f"{many}{listed}."


def _length(question: TimeQuestion, one: Known, words: Words) -> str:
    total_s = max(1, round(sum(span.to_s - span.from_s for span in one.spans)))
    stretches = f", in {len(one.spans)} stretches" if len(one.spans) > 1 else ""
    length = f"{_duration(total_s)} in all{stretches}."
    return f"At least {length}" if one.unseen else length


def _order(question: TimeQuestion, known: Sequence[Known], words: Words) -> str:
    seen = [(one.spans[0].from_s, number) for number, one in enumerate(known) if one.spans]
    if not seen:
        return f"I saw neither{_AS_FAR if any(one.unseen for one in known) else ''}."
    from_s, number = min(seen)
    is_sure = all(part.from_s >= from_s for one in known for part in one.unseen)
    at, unsure = _start(known[number].spans[0], words), "" if is_sure else _AS_FAR
    if len(seen) > len({start_s for start_s, _ in seen}):
        return f"Both at the same time, at {at}{unsure}."
    alone = ", and I never saw the other" if len(seen) == 1 else ""
    text = f"{question.clauses[number].words} came first, at {at}{alone}{unsure}."
    return text[0].upper() + text[1:]


def _clipped(span: FoundSpan, from_s: float, to_s: float) -> FoundSpan:
    shift = span.from_at - span.from_s
    return replace(span, from_s=from_s, to_s=to_s, from_at=from_s + shift, to_at=to_s + shift)


def _start(span: FoundSpan, words: Words) -> str:
    return words(span.from_s, span.from_at)


def _end(span: FoundSpan, words: Words) -> str:
    return words(span.to_s, span.to_at)


def _span(span: FoundSpan, words: Words) -> str:
    start, end = _start(span, words), _end(span, words)
    return f"at {start}" if start == end else f"from {start} to {end}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _duration(seconds: int) -> str:
    parts = ((seconds // 3600, "hour"), (seconds // 60 % 60, "minute"), (seconds % 60, "second"))
    return " ".join(f"{num} {unit}{'s' * (num != 1)}" for num, unit in parts if num)
