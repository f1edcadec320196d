"""The cast of a stream: what appears, how often, and how lively each chapter is.

A random half of the names appears normally. Of the other half, about three an hour are needles:
they appear once, for a few seconds. The rest never appear, so that "has X appeared" has an honest
no even after hours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from eval.stream_world.moment import Kind
from eval.stream_world.vocabulary import SIGN, shape_names

PERIOD_S = 1200
"""One needle comes due in each period of this length."""
FIRST_NEEDLE_S = (20, 540)
"""The first comes early enough for a stream of ten minutes."""
NEEDLE_VISIT_S = (3, 8)


@dataclass(frozen=True)
class Pace:
    """How lively a chapter is and who may appear in it; chances are per second."""

    enter_chance: float
    scene_chance: float
    recolor_chance: float
    moving_share: float
    longest_visit_s: int
    max_items: int
    cast: tuple[tuple[Kind, str], ...]


def draw_pace(
    rng: Random,
    emoji: Sequence[str],
    shapes: Sequence[str] | None = None,
    last_cast: Sequence[tuple[Kind, str]] = (),
) -> Pace:
    """Draw a pace and a cast from `emoji` and `shapes` (None: all); half of the last cast stays."""
    shapes = shape_names() if shapes is None else shapes
    kept = [member for member in last_cast if rng.random() < 0.5 and member[0] is not Kind.SIGN]
    names = {name for _, name in kept}
    num_emoji = rng.randint(3, 7) - sum(kind is Kind.EMOJI for kind, _ in kept)
    num_shapes = rng.randint(1, 3) - sum(kind is Kind.SHAPE for kind, _ in kept)
    new_emoji = [name for name in rng.sample(emoji, min(16, len(emoji))) if name not in names]
    new_shapes = [name for name in rng.sample(shapes, min(6, len(shapes))) if name not in names]
    cast = kept + [(Kind.EMOJI, name) for name in new_emoji[: max(0, num_emoji)]]
    cast += [(Kind.SHAPE, name) for name in new_shapes[: max(0, num_shapes)]]
    if rng.random() < 0.5:
        cast.append((Kind.SIGN, SIGN))
    return Pace(
        enter_chance=rng.choice([0.08, 0.15, 0.25, 0.4, 0.6]),
        scene_chance=rng.choice([0, 0.02, 0.05, 0.12]),
        recolor_chance=rng.choice([0, 0.05, 0.12]),
        moving_share=rng.choice([0.2, 0.5, 0.8]),
        longest_visit_s=rng.choice([6, 12, 20]),
        max_items=rng.choice([1, 2, 3, 4, 4]),
        cast=tuple(cast),
    )


@dataclass(frozen=True)
class Needle:
    """An object that appears once; it enters at `due_s`, or as soon as there is a place."""

    kind: Kind
    name: str
    due_s: int
    visit_s: int


@dataclass(frozen=True)
class Population:
    """`emoji` and `shapes` appear normally, `rare` only as needles."""

    emoji: tuple[str, ...]
    shapes: tuple[str, ...]
    rare: tuple[tuple[Kind, str], ...]

    def needles(self, seed: int) -> Iterator[Needle]:
        """Yield the needles in order; at most half of the rare names ever come."""
        rng = Random(f"needles of {seed}")
        for period, (kind, name) in enumerate(self.rare[: len(self.rare) // 2]):
            span_s = (period * PERIOD_S, (period + 1) * PERIOD_S - 1) if period else FIRST_NEEDLE_S
            yield Needle(kind, name, rng.randint(*span_s), rng.randint(*NEEDLE_VISIT_S))


def draw_population(seed: int, emoji: Sequence[str]) -> Population:
    """Draw the population of that seed's stream; `emoji` are all candidates."""
    rng = Random(f"population of {seed}")
    shapes = shape_names()
    drawn_emoji, drawn_shapes = rng.sample(emoji, len(emoji)), rng.sample(shapes, len(shapes))
    num_emoji, num_shapes = -(-len(emoji) // 2), -(-len(shapes) // 2)
    rare = [(Kind.EMOJI, name) for name in drawn_emoji[num_emoji:]]
    rare += [(Kind.SHAPE, name) for name in drawn_shapes[num_shapes:]]
    rng.shuffle(rare)
    return Population(tuple(drawn_emoji[:num_emoji]), tuple(drawn_shapes[:num_shapes]), tuple(rare))
