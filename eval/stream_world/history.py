"""History: the moments of a stream up to now in, who was in view when out.

It is built from the past alone, so whatever is read from it cannot depend on the future.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.stream_world.script import Item, Kind, Moment
from eval.stream_world.vocabulary import with_article


@dataclass(frozen=True)
class Span:
    """A stretch of the stream, both ends included, in seconds of stream time."""

    start_s: int
    end_s: int


@dataclass(frozen=True)
class Appearance:
    """An unbroken stretch of frames with one object in view: first and last frame, included."""

    first: int
    last: int


class History:
    """All moments up to and including the last one, which is now."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        assert moments, "a history needs at least one moment"
        self.moments = moments
        self._frames: dict[str, list[int]] = {}
        for index, moment in enumerate(moments):
            for item in moment.items:
                self._frames.setdefault(item.name, []).append(index)

    @property
    def now(self) -> Moment:
        return self.moments[-1]

    @property
    def last(self) -> int:
        """The index of the last moment."""
        return len(self.moments) - 1

    @property
    def names(self) -> list[str]:
        """Everything seen so far, in the order of first sight."""
        return list(self._frames)

    def sightings(self, name: str) -> list[int]:
        """The frames with that object in view; empty if it was never seen."""
        return self._frames.get(name, [])

    def appearances(self, name: str) -> list[Appearance]:
        """The sightings as unbroken stretches; a change of visit without a gap is one stretch."""
        stretches: list[Appearance] = []
        for index in self.sightings(name):
            if stretches and stretches[-1].last == index - 1:
                stretches[-1] = Appearance(stretches[-1].first, index)
            else:
                stretches.append(Appearance(index, index))
        return stretches

    def item(self, index: int, name: str) -> Item:
        """The object in a frame that is known to show it."""
        item = self.moments[index].find(name)
        assert item is not None, f"{name} is not in frame {index}"
        return item

    def span(self, first: int, last: int) -> Span:
        """The stream time of a run of frames."""
        return Span(self.moments[first].time_s, self.moments[last].time_s)

    def events(self, first: int) -> list[str]:
        """What changed from frame `first` (1 or later) on, each as a short sentence."""
        changes: list[str] = []
        for index in range(first, len(self.moments)):
            changes += _changes(self.moments[index - 1], self.moments[index])
        return changes


def describe(item: Item) -> str:
    """The object as answers name it: `an owl`, `a red star`, `a sign with 47`."""
    if item.kind is Kind.SIGN:
        return f"a sign with {item.number}"
    return with_article(f"{item.color} {item.name}" if item.color else item.name)


def list_items(moment: Moment) -> str:
    """Everything in view from left to right, or `nothing`."""
    ordered = sorted(moment.items, key=lambda item: (round(item.x, 3), item.y))
    return ", ".join(describe(item) for item in ordered) or "nothing"


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
