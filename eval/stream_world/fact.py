"""Fact: what a history holds that one can ask about, its answer and the moments that prove it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from eval.stream_world.history import History, Span
from eval.stream_world.script import Item
from eval.stream_world.vocabulary import emoji_names, shape_names


@dataclass(frozen=True)
class Fact:
    """`name`, `other` and `time_s` fill the slots of a phrasing; `evidence` is in stream order.

    An answer that rests on absence (`no`, `not seen`) has no evidence.
    """

    answer: str
    evidence: tuple[Span, ...] = ()
    name: str = ""
    other: str = ""
    time_s: int | None = None


FactFinder = Callable[[History, Random], Fact | None]
"""Finds one fact of its kind at random; None where the history has none, or an unclear one."""


def any_name(rng: Random) -> str:
    """An object at random, in view or not."""
    return rng.choice(emoji_names() + shape_names())


def is_between_cells(item: Item) -> bool:
    """Whether the object stands so near the border of two cells that either could be said."""
    borders = (item.x * 3 - 1, item.x * 3 - 2, item.y * 3 - 1, item.y * 3 - 2)
    return min(abs(distance) for distance in borders) < 0.1
