"""Statement: something that a moment shows or not; truth_spans: when a stream made it true.

A statement is about one object: that it is in view, in a colour, at a place, or in a scene.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, product
from random import Random

from eval.stream_world.history import Period
from eval.stream_world.moment import Item, Moment
from eval.stream_world.script import Script
from eval.stream_world.vocabulary import COLORS, PLAIN, SCENES, cell, with_article

FORMS = ("object", "color", "place", "scene")
PLACES = tuple(cell(x / 3, y / 3) for y in (0, 1, 2) for x in (0, 1, 2))
NAMED_SCENES = tuple(scene for scene in SCENES if scene != PLAIN)
_BEFORE = {"beach": "on", "night sky": "against"}
"""The preposition of a scene if it is not `in`."""


@dataclass(frozen=True)
class Statement:
    """At most one of `color` (of a shape), `place` (a cell) and `scene` is set."""

    name: str
    color: str = ""
    place: str = ""
    scene: str = ""

    @property
    def form(self) -> str:
        return next((form for form in FORMS[1:] if getattr(self, form)), FORMS[0])

    @property
    def words(self) -> str:
        """As a question names it: `red star`, `owl at the top left`, `owl on the beach`."""
        if self.place:
            return f"{self.name} {'in' if self.place == 'center' else 'at'} the {self.place}"
        if self.scene:
            return f"{self.name} {_BEFORE.get(self.scene, 'in')} the {self.scene}"
        return f"{self.color} {self.name}".strip()

    @property
    def text(self) -> str:
        """To search for it: `a red star`, `an owl at the top left`."""
        return with_article(self.words)

    def holds(self, moment: Moment) -> bool:
        item = moment.find(self.name)
        return (
            item is not None
            and self.color in ("", item.color)
            and self.place in ("", cell(item.x, item.y))
            and self.scene in ("", moment.backdrop.scene)
        )

    def is_doubtful(self, moment: Moment) -> bool:
        """Return whether a careful viewer could be unsure: the object is between two places."""
        item = moment.find(self.name)
        return bool(self.place) and item is not None and self.place in _border_cells(item)


def truth_spans(
    script: Script, statement: Statement, until_s: float | None = None
) -> tuple[Period, ...]:
    """Return whole stretches in stream order, up to `until_s` (None: to the end). `end_s` is the
    last second that shows it: a stretch lasts `end_s - start_s + 1` seconds.
    """
    seen = [one for one in script.moments if until_s is None or one.time_s <= until_s]
    spans = []
    for holds, several in groupby(seen, statement.holds):
        if holds:
            times_s = [moment.time_s for moment in several]
            spans.append(Period(times_s[0], times_s[-1]))
    return tuple(spans)


class SpanIndex:
    """The spans of every statement that a stream ever makes true, in frames."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._spans: defaultdict[Statement, list[range]] = defaultdict(list)
        self._doubtful: defaultdict[Statement, list[int]] = defaultdict(list)
        for frame, moment in enumerate(script.moments):
            for item in moment.items:
                for statement in statements_of(item, moment.backdrop.scene):
                    spans = self._spans[statement]
                    start = spans.pop().start if spans and spans[-1].stop == frame else frame
                    spans.append(range(start, frame + 1))
                for place in _border_cells(item):
                    self._doubtful[_statement(item.name, place=place)].append(frame)
        self.by_form = {form: [one for one in self._spans if one.form == form] for form in FORMS}

    def any(self, form: str, rng: Random) -> Statement | None:
        return rng.choice(self.by_form[form]) if self.by_form[form] else None

    def never(self, form: str, frames: range, rng: Random) -> Statement | None:
        """Return one that surely holds in none of `frames`, although its object is in view in some,
        unless the object alone is the statement. None if nothing fits this time.
        """
        held = self.any("color" if form == "color" else "object", rng)
        if held is None:
            return None
        one = {
            "object": Statement(rng.choice(self.script.names)),
            "color": Statement(held.name, color=rng.choice(list(COLORS))),
            "place": Statement(held.name, place=rng.choice(PLACES)),
            "scene": Statement(held.name, scene=rng.choice(NAMED_SCENES)),
        }[form]
        is_seen = form == "object" or self._holds(Statement(one.name), frames)
        is_clear = self.is_clear(one, frames)
        return one if is_seen and is_clear and not self._holds(one, frames) else None

    def _holds(self, statement: Statement, frames: range) -> bool:
        return any(
            one.start < frames.stop and frames.start < one.stop for one in self.whole(statement)
        )

    def whole(self, statement: Statement) -> list[range]:
        return self._spans.get(statement, [])

    def until(self, statement: Statement, last: int) -> list[range]:
        spans = self.whole(statement)
        begun = bisect_right(spans, last, key=lambda span: span.start)
        return [range(one.start, min(one.stop, last + 1)) for one in spans[:begun]]

    def is_clear(self, statement: Statement, frames: range) -> bool:
        doubtful = self._doubtful.get(statement, [])
        return bisect_left(doubtful, frames.start) == bisect_left(doubtful, frames.stop)


def statements_of(item: Item, scene: str) -> Iterator[Statement]:
    yield _statement(item.name)
    yield _statement(item.name, place=cell(item.x, item.y))
    if item.color:
        yield _statement(item.name, color=item.color)
    if scene != PLAIN:
        yield _statement(item.name, scene=scene)


_statement = lru_cache(None)(Statement)


def _border_cells(item: Item) -> frozenset[str]:
    if not item.is_between_cells:
        return frozenset()
    near = (-item.cell_margin / 3, 0, item.cell_margin / 3)
    return frozenset(cell(item.x + dx, item.y + dy) for dx, dy in product(near, near))
