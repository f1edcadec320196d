"""History: the moments of a stream up to now, with facts such as what was in view when.

Nothing read from it can depend on the future: `until` cuts it at an earlier moment.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Self

from eval.stream_world.moment import Item, Kind, Moment
from eval.stream_world.script import Script
from eval.stream_world.vocabulary import SIGN, emoji_names, shape_names, with_article


@dataclass(frozen=True)
class Period:
    """A stretch of the stream, both ends included, in seconds of stream time."""

    start_s: int
    end_s: int


class Entry(NamedTuple):
    """The frame, never the first one, in which an object comes into view."""

    frame: int
    name: str


class History:
    """All moments up to and including frame `last`, which is now; `askable` may be asked about."""

    def __init__(
        self,
        moments: Sequence[Moment],
        askable: Sequence[str] | None = None,
        needles: Sequence[str] = (),
    ) -> None:
        assert moments, "a history needs at least one moment"
        everything = (*emoji_names(), *shape_names(), SIGN)
        self.askable = everything if askable is None else tuple(askable)
        self.last = len(moments) - 1
        self._moments, self._needles = moments, frozenset(needles)
        self._appearances = _appearances(moments)
        self._names = list(self._appearances)
        self._first_sights = [seen[0].start for seen in self._appearances.values()]
        self._entries = sorted(
            Entry(stretch.start, name)
            for name, stretches in self._appearances.items()
            for stretch in stretches
            if stretch.start > 0
        )

    @classmethod
    def of(cls, script: Script) -> Self:
        return cls(script.moments, script.names, script.needles)

    def until(self, last: int) -> Self:
        """Return the history up to frame `last`: cheap, and nothing later can be read from it."""
        assert 0 <= last <= self.last, f"no frame {last} in a history up to frame {self.last}"
        cut = copy(self)
        cut.last = last
        return cut

    @property
    def now(self) -> Moment:
        return self._moments[self.last]

    @property
    def names(self) -> list[str]:
        """Everything seen so far, in the order of first sight."""
        return self._names[: bisect_right(self._first_sights, self.last)]

    @property
    def unseen(self) -> list[str]:
        """Everything that may be asked about and was not seen so far."""
        seen = set(self.names)
        return [name for name in self.askable if name not in seen]

    @property
    def needles(self) -> list[str]:
        """What was seen so far and appears only once, however long the stream."""
        return [name for name in self.names if name in self._needles]

    @property
    def entries(self) -> list[Entry]:
        """What came into view so far, in stream order."""
        return self._entries[: bisect_right(self._entries, self.last, key=lambda one: one.frame)]

    def moment(self, index: int) -> Moment:
        assert 0 <= index <= self.last, f"no frame {index} in a history up to frame {self.last}"
        return self._moments[index]

    def appearances(self, name: str) -> list[range]:
        """Return when it was in view, in frames; visits without a gap are one stretch."""
        stretches = self._appearances.get(name, [])
        begun = bisect_right(stretches, self.last, key=lambda stretch: stretch.start)
        return [range(one.start, min(one.stop, self.last + 1)) for one in stretches[:begun]]

    def sightings(self, name: str) -> list[int]:
        """Return the frames with that object in view; empty if it was never seen."""
        return [index for stretch in self.appearances(name) for index in stretch]

    def item(self, index: int, name: str) -> Item:
        """Return the object in a frame known to show it."""
        item = self.moment(index).find(name)
        assert item is not None, f"{name} is not in frame {index}"
        return item

    def span(self, first: int, last: int) -> Period:
        return Period(self.moment(first).time_s, self.moment(last).time_s)

    def frames(self, *indices: int) -> tuple[Period, ...]:
        """Return the stream time of single frames, in stream order."""
        return tuple(self.span(index, index) for index in sorted(indices))

    def events(self, first: int) -> list[str]:
        """Return what changed from frame `first` (1 or later) on, as short sentences."""
        changes: list[str] = []
        for index in range(first, self.last + 1):
            changes += _changes(self.moment(index - 1), self.moment(index))
        return changes


@dataclass(frozen=True)
class Fact:
    """Something in a history that one can ask about, its answer and the moments that prove it.

    `name`, `other` and `time_s` fill the slots of a phrasing. `evidence`, in stream order, is what
    a memory must still hold to answer; an answer about the past that rests on absence (`no`, `not
    seen`) has none. `differs_earlier`: the answer is that of the last sighting, and another
    sighting's differs, so a question without a word such as `last` would be ambiguous.
    """

    answer: str
    evidence: tuple[Period, ...] = ()
    name: str = ""
    other: str = ""
    time_s: int | None = None
    differs_earlier: bool = False


FactFinder = Callable[[History, Random], Fact | None]
"""Finds one random fact of its kind; None if the history has none, or an unclear one."""


def describe(item: Item) -> str:
    """Name the object as answers do: `an owl`, `a red star`, `a sign with 47`."""
    if item.kind is Kind.SIGN:
        return f"a sign with {item.number}"
    return with_article(f"{item.color} {item.name}" if item.color else item.name)


def list_items(moment: Moment) -> str:
    """List everything in view from left to right, or `nothing`."""
    ordered = sorted(moment.items, key=lambda item: (round(item.x, 3), item.y))
    return ", ".join(describe(item) for item in ordered) or "nothing"


def _appearances(moments: Sequence[Moment]) -> dict[str, list[range]]:
    stretches: dict[str, list[range]] = {}
    for index, moment in enumerate(moments):
        for item in moment.items:
            seen = stretches.setdefault(item.name, [])
            start = seen.pop().start if seen and seen[-1].stop == index else index
            seen.append(range(start, index + 1))
    return stretches


def _changes(before: Moment, after: Moment) -> list[str]:
    old = {item.name: item for item in before.items}
    new = {item.name: item for item in after.items}
    changes = []
    for name in sorted(new):
        if name not in old:
            changes.append(f"{describe(new[name])} appeared")
        elif new[name].color != old[name].color:
            changes.append(f"the {name} turned {new[name].color}")
    return changes + [f"the {name} left" for name in sorted(old) if name not in new]
