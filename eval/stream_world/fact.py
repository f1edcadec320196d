"""Fact: what a history holds that one can ask about, its answer and the moments that prove it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from eval.stream_world.history import History, Period
from eval.stream_world.moment import Item, Kind


@dataclass(frozen=True)
class Fact:
    """`name`, `other` and `time_s` fill the slots of a phrasing; `evidence` is in stream order.

    `evidence` is what a memory must still hold to answer. An answer about the past that rests on
    absence (`no`, `not seen`) has none. `differs_earlier` says that the answer is that of the last
    sighting and another one's is not the same: a question that does not say `last` is in doubt.
    """

    answer: str
    evidence: tuple[Period, ...] = ()
    name: str = ""
    other: str = ""
    time_s: int | None = None
    differs_earlier: bool = False


FactFinder = Callable[[History, Random], Fact | None]
"""Finds one fact of its kind at random; None where the history has none, or an unclear one."""


def frame_spans(history: History, *indices: int) -> tuple[Period, ...]:
    """Single frames as evidence."""
    return tuple(history.span(index, index) for index in sorted(indices))


def is_between_cells(item: Item) -> bool:
    """Whether the object stands so near the border of two cells that either could be said.

    Some shapes are drawn a little off their centre.
    """
    margin = 0.2 if item.kind is Kind.SHAPE else 0.1
    borders = (item.x * 3 - 1, item.x * 3 - 2, item.y * 3 - 1, item.y * 3 - 2)
    return min(abs(distance) for distance in borders) < margin
