"""Pace: chance in, how lively a chapter of a stream is and who may appear in it out."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from eval.stream_world.moment import Kind
from eval.stream_world.vocabulary import SIGN, shape_names


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
    """A chapter's pace with a cast drawn from `emoji` and `shapes` (None: all).

    About half of the last chapter's cast stays on.
    """
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
