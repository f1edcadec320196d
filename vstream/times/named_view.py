"""named_view: narrows what a question may see to the time that its words name.

Without a zone, words name stream time (`vstream.times.named_time`). A time with nothing kept is not
followed, and neither is any beside a `from_s`. With a zone they name clock time
(`vstream.times.clock_words`), which bounds the question just as `from_s` and `at_s` do, and a time
with nothing kept is refused: an answer from another time would be taken for one from then.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import torch.nn.functional as F

from memory import MemoryReader
from vstream.engine.retrieval import MemoryView, view_at
from vstream.errors import QuestionError
from vstream.question import Question, Stretch
from vstream.times.clock_words import ClockRange, clock_ranges
from vstream.times.named_time import named_time
from vstream.times.when import stream_range
from vstream.times.zone import local_range, zone_of

MOMENT_S = 1.0
"""A question about a moment sees the newest block that had ended by then, and those up to this long
before it; under some policies (`sees_beside`) also the next one on each side that looks the same.
"""
LOOKS_SAME = 0.85
"""Cosine of representative keys, averaged over layers. Of a run of similar blocks some policies
keep only the first and the last, and less than all of each: together they say more.
"""
MOMENT_REACH_S = 60.0
"""Blocks that ended longer before a moment say nothing about it: a sampler keeps a frame this often
if nothing changes. For the same reason they say what a stretch without blocks started with.
"""
CLOCK_AHEAD_S = 30.0
"""What a camera took in the last seconds may bear a time this far in the future."""


@dataclass(frozen=True, eq=False)
class NamedView:
    """What is seen, how the question is read, where its words made it look, and the other words."""

    view: MemoryView
    read_as: Question
    rest: str
    looked: Stretch | None = None


def named_view(
    question: Question,
    memory: MemoryReader,
    view: MemoryView,
    recent_blocks: int | None,
    reads_stream_time: bool,
    beside: bool = True,
) -> NamedView:
    """Return what is left of `view` (not empty): all of it if the question names no time.

    For a model that `reads_stream_time`, clock words are rewritten as stream time. With `beside`, a
    moment also sees the next block on each side that looks the same. Raises QuestionError for an
    unknown zone, and for a clock time with nothing kept.
    """
    if question.zone is not None:
        zone = zone_of(question.zone)
        by_clock = _ByClock(question, memory, recent_blocks, zone, beside)
        return by_clock.named_view(view, reads_stream_time)
    found = None if question.from_s is not None else _in_stream(question, memory, view, beside)
    if found is None:
        return NamedView(view, question, question.text)
    at_s, from_s, rest = found
    left = view_at(memory, at_s, recent_blocks, from_s)
    if not left.ids:
        return NamedView(view, question, question.text)
    return NamedView(left, question, rest, _stretch(memory, left))


def _in_stream(
    question: Question, memory: MemoryReader, view: MemoryView, beside: bool
) -> tuple[float | None, float | None, str] | None:
    """Return the `at_s` and `from_s` that words name, and the other words; None if they do not."""
    now_s = memory.info(view.ids[-1]).end_s if question.at_s is None else question.at_s
    named = named_time(question.text, now_s)
    if named is None:
        return None
    from_s, to_s = named.from_s, named.to_s
    if named.is_moment:
        assert to_s is not None
        before = memory.seen(to_s)
        if not before or memory.info(before[-1]).end_s < to_s - MOMENT_REACH_S:
            return None
        from_s = memory.info(before[-1]).end_s - MOMENT_S
        if beside:
            from_s, to_s = _shown(memory, before[-1], question.at_s)
    return question.at_s if to_s is None else to_s, from_s, named.rest


def _shown(memory: MemoryReader, block_id: int, at_s: float | None) -> tuple[float, float]:
    """Return the stretch that a block and its similar neighbours show, of what ended by `at_s`."""
    ids = memory.seen(at_s)
    place = bisect_left(ids, block_id)
    near = ids[max(0, place - 1) : place + 2]
    keys = F.normalize(memory.representative_keys(near).float(), dim=2)
    likeness = (keys * keys[:, near.index(block_id), None]).sum(2).mean(0).tolist()
    ends = [
        memory.info(i).end_s
        for i, like in zip(near, likeness, strict=True)
        if like >= LOOKS_SAME or i == block_id
    ]
    return min(ends[0], memory.info(block_id).end_s - MOMENT_S), ends[-1]


class _ByClock:
    """A question by the clock of a zone, over one memory."""

    def __init__(
        self,
        question: Question,
        memory: MemoryReader,
        recent_blocks: int | None,
        zone: ZoneInfo,
        beside: bool,
    ) -> None:
        self._question = question
        self._memory = memory
        self._recent_blocks = recent_blocks
        self._beside = beside
        self._zone = zone
        asked_at = time.time() if question.asked_at is None else question.asked_at
        try:
            self._now = datetime.fromtimestamp(asked_at, zone)
        except (OverflowError, ValueError, OSError):
            raise QuestionError(
                f"asked_at is {asked_at:g}, which is no moment: give seconds since the epoch"
            ) from None

    def named_view(self, view: MemoryView, reads_stream_time: bool) -> NamedView:
        named = clock_ranges(self._question.text, self._now)
        text, looked = self._question.text, None
        rest = text
        if len(named) == 1:
            view = self._seen(named[0])
            begin, end = _seconds(named[0])
            if not view.ids:
                raise QuestionError(self._nothing_kept(begin, end))
            looked = replace(_stretch(self._memory, view), begin_at=begin, end_at=end)
            rest = f"{text[: named[0].span[0]].strip()} {text[named[0].span[1] :].strip()}"
        read_as = self._question
        if reads_stream_time:
            turns = tuple(
                replace(turn, question=self._retold(turn.question)) for turn in read_as.dialogue
            )
            read_as = replace(read_as, text=self._retold(read_as.text, named), dialogue=turns)
        return NamedView(view, read_as, rest, looked)

    def _seen(self, named: ClockRange) -> MemoryView:
        """Return the blocks captured then that the question may see."""
        begin, end = _seconds(named)
        reaches_now = named.end == self._now
        from_s, to_s = stream_range(self._memory, begin, end + CLOCK_AHEAD_S * reaches_now)
        if begin is not None and (from_s > to_s or begin == end):
            _, to_s = stream_range(self._memory, begin - MOMENT_REACH_S, begin)
            from_s, at_s = to_s - MOMENT_S, self._question.at_s
            before = self._memory.visible(to_s if at_s is None else min(to_s, at_s))
            if self._beside and before:
                from_s, to_s = _shown(self._memory, before[-1], at_s)
        if self._question.from_s is not None:
            from_s = max(from_s, self._question.from_s)
        if self._question.at_s is not None:
            to_s = min(to_s, self._question.at_s)
        return view_at(self._memory, to_s, self._recent_blocks, from_s)

    def _retold(self, text: str, named: Sequence[ClockRange] | None = None) -> str:
        """Rewrite the times with something kept as stream time."""
        found = clock_ranges(text, self._now) if named is None else named
        for one in reversed(found):
            ids = self._seen(one).ids
            if ids:
                first, last = (self._memory.info(i).end_s for i in (ids[0], ids[-1]))
                begin, end = one.span
                text = text[:begin] + _in_stream_time(one, self._now, first, last) + text[end:]
        return text

    def _nothing_kept(self, begin: float | None, end: float) -> str:
        ids = self._memory.visible(None)
        first, last = (self._memory.info(i).captured_at for i in (ids[0], ids[-1]))
        bounds = [] if self._question.from_s is None else [f"from {self._question.from_s:g} s on"]
        bounds += [] if self._question.at_s is None else [f"up to {self._question.at_s:g} s"]
        of_that = f" in the stream {' '.join(bounds)}" if bounds else ""
        return (
            f"nothing is kept of {local_range(begin, end, self._zone)}{of_that}: the memory holds "
            f"{local_range(first, last, self._zone)}"
        )


def _seconds(named: ClockRange) -> tuple[float | None, float]:
    return None if named.begin is None else named.begin.timestamp(), named.end.timestamp()


def _stretch(memory: MemoryReader, view: MemoryView) -> Stretch:
    return Stretch(memory.info(view.ids[0]).start_s, memory.info(view.ids[-1]).end_s)


def _in_stream_time(named: ClockRange, now: datetime, first_s: float, last_s: float) -> str:
    """Write it in stream time; something is kept of it from `first_s` to `last_s`."""
    if last_s - first_s <= MOMENT_S:
        return f"at {_clock(last_s)}"
    if named.is_moment:
        return f"at {_clock((first_s + last_s) / 2)}"
    if named.begin is None:
        return f"before {_clock(last_s)}"
    if named.end == now:
        return f"since {_clock(first_s)}"
    return f"between {_clock(first_s)} and {_clock(last_s)}"


def _clock(stream_s: float) -> str:
    """Write it with hours that start over after a day, as in the words that frames open with."""
    seconds = int(stream_s)
    return f"{seconds // 3600 % 24}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
