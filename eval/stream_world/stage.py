"""Stage: what is in view; each second objects move, recolour, leave or enter, and scenes change.

Objects keep clear of each other: a newcomer without a free place does not enter, and a moving
object turns back at another one and at the edge. None has the colour of its backdrop. So everything
in view is fully visible.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from eval.stream_world.cast import Pace
from eval.stream_world.moment import CROP_MARGIN_PX, NUM_VARIANTS, Backdrop, Item, Kind, Moment
from eval.stream_world.vocabulary import COLORS, SCENES

NUM_PLACES_TRIED = 24
EDGE_SHARE = 0.52
"""How near the edge a centre may come, in sizes: just over half, because drawings are rotated."""
LEAST_EDGE = 0.14
HIDDEN_COLORS = {"night sky": "black", "snow": "white"}
"""Colours that are easy to miss against a scene."""


@dataclass(frozen=True)
class _Visit:
    """An object on stage with what one frame does not show: its speed and when it leaves."""

    item: Item
    speed: tuple[float, float]
    enters_s: int
    leaves_s: int


class Stage:
    """Empty at first; all randomness comes from `rng`."""

    def __init__(self, styles: Sequence[str], rng: Random) -> None:
        self._styles, self._rng = tuple(styles), rng
        self._visits: list[_Visit] = []
        self._num_visits = 0
        self._backdrop = self._draw_backdrop()

    @property
    def items(self) -> tuple[Item, ...]:
        """What is in view, the earliest to enter first."""
        return tuple(visit.item for visit in self._visits)

    def moment(self, second: int) -> Moment:
        return Moment(second, self._backdrop, self.items)

    def go_on(self, second: int, pace: Pace) -> None:
        """Remove objects whose time is up; the scene may change, others change colour and move."""
        self._visits = visits = [visit for visit in self._visits if visit.leaves_s > second]
        if self._rng.random() < pace.scene_chance:
            self._backdrop = self._draw_backdrop()
        for index, visit in enumerate(visits):
            if visit.item.kind is Kind.SHAPE and second > visit.enters_s + 1:
                visit = self._recolored(visit, pace)
            others = [other.item for other in visits if other.item.track != visit.item.track]
            visits[index] = _moved(visit, others)

    def enter(self, kind: Kind, name: str, second: int, visit_s: int, pace: Pace) -> bool:
        """Bring an object on if there is a free place; return whether there was one."""
        item = self._in_free_place(self._draw_item(kind, name))
        if item is None:
            return False
        speed = (0.0, 0.0)
        if self._rng.random() < pace.moving_share:
            step = self._rng.uniform(0.03, 0.09) * self._rng.choice((-1, 1))
            speed = (step, 0.0) if self._rng.random() < 0.65 else (0.0, step)
        self._visits.append(_Visit(item, speed, second, second + visit_s))
        self._num_visits += 1
        return True

    def _recolored(self, visit: _Visit, pace: Pace) -> _Visit:
        if self._rng.random() >= pace.recolor_chance:
            return visit
        return replace(visit, item=replace(visit.item, color=self._draw_color()))

    def _draw_color(self) -> str:
        hidden = HIDDEN_COLORS.get(self._backdrop.scene)
        return self._rng.choice([color for color in COLORS if color != hidden])

    def _draw_backdrop(self) -> Backdrop:
        rng, shown = self._rng, {visit.item.color for visit in self._visits}
        scene = rng.choice([name for name in SCENES if HIDDEN_COLORS.get(name, "") not in shown])
        left_px, top_px = rng.randrange(CROP_MARGIN_PX), rng.randrange(CROP_MARGIN_PX)
        return Backdrop(scene, rng.randrange(NUM_VARIANTS), left_px, top_px, rng.random() < 0.5)

    def _draw_item(self, kind: Kind, name: str) -> Item:
        rng, is_sign = self._rng, kind is Kind.SIGN
        # Not rng.choice: a seed must show the same things for any number of styles.
        styles = ("white", "yellow") if is_sign else self._styles
        style = styles[int(rng.random() * len(styles))]
        is_large = rng.random() < 0.5 or is_sign
        return Item(
            track=self._num_visits,
            name=name,
            kind=kind,
            style=style,
            x=0.5,
            y=0.5,
            size=rng.uniform(0.32, 0.42) if is_large else rng.uniform(0.18, 0.25),
            rotation=rng.uniform(-0.06, 0.06) if is_sign else rng.uniform(-0.2, 0.2),
            is_flipped=kind is Kind.EMOJI and rng.random() < 0.5,
            color=self._draw_color() if kind is Kind.SHAPE else None,
            number=rng.randint(10, 99) if is_sign else None,
        )

    def _in_free_place(self, item: Item) -> Item | None:
        low = _edge(item)
        for _ in range(NUM_PLACES_TRIED):
            x, y = self._rng.uniform(low, 1 - low), self._rng.uniform(low, 1 - low)
            placed = replace(item, x=x, y=y)
            if _is_clear(placed, self.items):
                return placed
        return None


def _is_clear(item: Item, others: Iterable[Item]) -> bool:
    return all(
        max(abs(other.x - item.x), abs(other.y - item.y)) >= (other.size + item.size) / 2
        for other in others
    )


def _moved(visit: _Visit, others: Sequence[Item]) -> _Visit:
    """Move one step; if the way is blocked, one step back; if that is blocked too, not at all."""
    dx, dy = visit.speed
    if dx == dy == 0:
        return visit
    for speed in ((dx, dy), (-dx, -dy)):
        item = replace(visit.item, x=visit.item.x + speed[0], y=visit.item.y + speed[1])
        low = _edge(item)
        is_inside = low <= item.x <= 1 - low and low <= item.y <= 1 - low
        if is_inside and _is_clear(item, others):
            return replace(visit, item=item, speed=speed)
    return visit


def _edge(item: Item) -> float:
    return max(LEAST_EDGE, EDGE_SHARE * item.size)
