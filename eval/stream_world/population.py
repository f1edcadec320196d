"""Population: a seed and a list of names in, who appears in that stream and how often out.

A random half of the names appears in the ordinary way. Of the other half, about three an hour
are needles: they appear once, for a few seconds. All the others never appear, so that "has X
appeared" has an honest no even after hours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from eval.stream_world.moment import Kind
from eval.stream_world.vocabulary import shape_names

PERIOD_S = 1200
"""One needle comes due in each period of this length."""
FIRST_NEEDLE_S = (20, 540)
"""The first one comes early enough for a stream of ten minutes to have it."""
NEEDLE_VISIT_S = (3, 8)


@dataclass(frozen=True)
class Needle:
    """An object that appears once; it enters at `due_s`, or as soon as there is a place."""

    kind: Kind
    name: str
    due_s: int
    visit_s: int


@dataclass(frozen=True)
class Population:
    """`emoji` and `shapes` appear in the ordinary way, `rare` can only be needles."""

    emoji: tuple[str, ...]
    shapes: tuple[str, ...]
    rare: tuple[tuple[Kind, str], ...]

    def needles(self, seed: int) -> Iterator[Needle]:
        """The needles in the order of coming; at most half of the rare names ever come."""
        rng = Random(f"needles of {seed}")
        for period, (kind, name) in enumerate(self.rare[: len(self.rare) // 2]):
            span_s = (period * PERIOD_S, (period + 1) * PERIOD_S - 1) if period else FIRST_NEEDLE_S
            yield Needle(kind, name, rng.randint(*span_s), rng.randint(*NEEDLE_VISIT_S))


def draw_population(seed: int, emoji: Sequence[str]) -> Population:
    """The population of the stream of that seed; `emoji` are all that could be part of it."""
    rng = Random(f"population of {seed}")
    shapes = shape_names()
    drawn_emoji, drawn_shapes = rng.sample(emoji, len(emoji)), rng.sample(shapes, len(shapes))
    num_emoji, num_shapes = -(-len(emoji) // 2), -(-len(shapes) // 2)
    rare = [(Kind.EMOJI, name) for name in drawn_emoji[num_emoji:]]
    rare += [(Kind.SHAPE, name) for name in drawn_shapes[num_shapes:]]
    rng.shuffle(rare)
    return Population(tuple(drawn_emoji[:num_emoji]), tuple(drawn_shapes[:num_shapes]), tuple(rare))
