"""Script: a seed and a length in seconds in, what a made-up stream shows second by second out.

Objects enter, move, change colour and leave; signs carry numbers; scenes change. The simulation
is causal: a second is drawn from the seed and what came before, so a longer stream begins with
the shorter one of the same seed. Every `CHAPTER_S` seconds the pace and half of the cast change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from random import Random

from eval.stream_world.vocabulary import COLORS, SCENES, SIGN, emoji_names, shape_names

CHAPTER_S = 64
NUM_VARIANTS = 24
"""How many backdrops each scene has."""
CROP_MARGIN_PX = 32
"""By how much a backdrop is larger than the frame, so that its crop can differ."""
SEEN_STYLES = ("fluent", "noto")
"""Drawing styles that the embedded model was trained on; `twemoji` is held out."""


class Kind(StrEnum):
    EMOJI = "emoji"
    SHAPE = "shape"
    SIGN = "sign"


@dataclass(frozen=True)
class Item:
    """One object as one frame shows it.

    `x`, `y` (centre) and `size` are in parts of the frame's side. `track` numbers the visits: an
    object that leaves and comes back gets another. `color` is set for shapes, `number` for signs.
    """

    track: int
    name: str
    kind: Kind
    style: str
    x: float
    y: float
    size: float
    rotation: float
    is_flipped: bool
    color: str | None = None
    number: int | None = None

    @property
    def is_large(self) -> bool:
        return self.size > 0.28


@dataclass(frozen=True)
class Backdrop:
    """Which picture stands behind the objects, and which part of it."""

    scene: str
    variant: int
    left_px: int
    top_px: int
    is_flipped: bool


@dataclass(frozen=True)
class Moment:
    """One second of the stream; `items` in drawing order, each name at most once."""

    time_s: int
    backdrop: Backdrop
    items: tuple[Item, ...]

    def find(self, name: str) -> Item | None:
        """The object of that name, if it is in view."""
        return next((item for item in self.items if item.name == name), None)


@dataclass(frozen=True)
class Script:
    """What a stream shows; `moments[i]` is second `i` unless the stream was retimed."""

    seed: int
    moments: tuple[Moment, ...]

    def retimed(self, times_s: Sequence[int]) -> "Script":
        """The same stream with other (increasing) times, as seen with gaps or at another pace."""
        moments = zip(self.moments, times_s, strict=True)
        return Script(self.seed, tuple(replace(moment, time_s=t) for moment, t in moments))


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


@dataclass(frozen=True)
class _Visit:
    """An object on stage with what is not visible in one frame: its speed and when it leaves."""

    item: Item
    speed: tuple[float, float]
    enters_s: int
    leaves_s: int


def write_script(
    seed: int,
    length_s: int,
    styles: Sequence[str] = SEEN_STYLES,
    emoji: Sequence[str] | None = None,
) -> Script:
    """The first `length_s` seconds of the stream of that seed; `emoji` limits who may appear."""
    return Script(seed, tuple(islice(play(seed, styles, emoji), length_s)))


def play(
    seed: int,
    styles: Sequence[str] = SEEN_STYLES,
    emoji: Sequence[str] | None = None,
    pace: Pace | None = None,
) -> Iterator[Moment]:
    """The seconds of an endless stream; a given `pace` is kept, else each chapter draws its own."""
    rng = Random(seed)
    emoji = emoji or emoji_names()
    chapter_pace, backdrop = pace or draw_pace(rng, emoji), _draw_backdrop(rng)
    visits: list[_Visit] = []
    num_visits = second = 0
    while True:
        if second and second % CHAPTER_S == 0 and pace is None:
            chapter_pace = draw_pace(rng, emoji, chapter_pace.cast)
        if rng.random() < chapter_pace.scene_chance:
            backdrop = _draw_backdrop(rng)
        visits = [
            _moved(_recolored(visit, second, chapter_pace, rng))
            for visit in visits
            if visit.leaves_s > second
        ]
        for _ in range(2 if rng.random() < 0.15 else 1):
            if len(visits) < chapter_pace.max_items and rng.random() < chapter_pace.enter_chance:
                visit = _enter(second, num_visits, visits, chapter_pace, styles, rng)
                visits += [visit] if visit else []
                num_visits += 1
        yield Moment(second, backdrop, tuple(visit.item for visit in visits))
        second += 1


def draw_pace(
    rng: Random, emoji: Sequence[str], last_cast: Sequence[tuple[Kind, str]] = ()
) -> Pace:
    """A chapter's pace; about half of the last chapter's cast stays on."""
    kept = [member for member in last_cast if rng.random() < 0.5 and member[0] is not Kind.SIGN]
    names = {name for _, name in kept}
    num_emoji = rng.randint(3, 7) - sum(kind is Kind.EMOJI for kind, _ in kept)
    num_shapes = rng.randint(1, 3) - sum(kind is Kind.SHAPE for kind, _ in kept)
    new_emoji = [name for name in rng.sample(emoji, min(16, len(emoji))) if name not in names]
    new_shapes = [name for name in rng.sample(shape_names(), 6) if name not in names]
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


def _draw_backdrop(rng: Random) -> Backdrop:
    left_px, top_px = rng.randrange(CROP_MARGIN_PX), rng.randrange(CROP_MARGIN_PX)
    scene, variant = rng.choice(SCENES), rng.randrange(NUM_VARIANTS)
    return Backdrop(scene, variant, left_px, top_px, rng.random() < 0.5)


def _recolored(visit: _Visit, second: int, pace: Pace, rng: Random) -> _Visit:
    if visit.item.kind is not Kind.SHAPE or second <= visit.enters_s + 1:
        return visit
    if rng.random() >= pace.recolor_chance:
        return visit
    return replace(visit, item=replace(visit.item, color=rng.choice(list(COLORS))))


def _moved(visit: _Visit) -> _Visit:
    """One second on; an object turns back before it would leave the frame."""
    if visit.speed == (0.0, 0.0):
        return visit
    item, (dx, dy) = visit.item, visit.speed
    low = max(0.12, item.size * 0.45)
    if not (low <= item.x + dx <= 1 - low and low <= item.y + dy <= 1 - low):
        dx, dy = -dx, -dy
    x = min(max(item.x + dx, low), 1 - low)
    y = min(max(item.y + dy, low), 1 - low)
    return replace(visit, item=replace(item, x=x, y=y), speed=(dx, dy))


def _enter(
    second: int,
    track: int,
    visits: Sequence[_Visit],
    pace: Pace,
    styles: Sequence[str],
    rng: Random,
) -> _Visit | None:
    """A member of the cast that is not in view steps on; None if all are."""
    in_view = {visit.item.name for visit in visits}
    free = [member for member in pace.cast if member[1] not in in_view]
    if not free:
        return None
    sign = (Kind.SIGN, SIGN)
    kind, name = rng.choice(free) if rng.random() < 0.8 or sign not in free else sign
    is_large = rng.random() < 0.5 or kind is Kind.SIGN
    size = rng.uniform(0.32, 0.42) if is_large else rng.uniform(0.18, 0.25)
    x, y = _free_place(size, visits, rng)
    item = Item(
        track=track,
        name=name,
        kind=kind,
        style=rng.choice(("white", "yellow")) if kind is Kind.SIGN else rng.choice(list(styles)),
        x=x,
        y=y,
        size=size,
        rotation=rng.uniform(-0.06, 0.06) if kind is Kind.SIGN else rng.uniform(-0.2, 0.2),
        is_flipped=kind is Kind.EMOJI and rng.random() < 0.5,
        color=rng.choice(list(COLORS)) if kind is Kind.SHAPE else None,
        number=rng.randint(10, 99) if kind is Kind.SIGN else None,
    )
    speed = (0.0, 0.0)
    if rng.random() < pace.moving_share:
        step = rng.uniform(0.03, 0.09) * rng.choice((-1, 1))
        speed = (step, 0.0) if rng.random() < 0.65 else (0.0, step)
    return _Visit(item, speed, second, second + rng.randint(2, pace.longest_visit_s))


def _free_place(size: float, visits: Sequence[_Visit], rng: Random) -> tuple[float, float]:
    """A place that hardly overlaps the others; after eight tries any place."""
    low = max(0.14, size * 0.45)
    x = y = 0.5
    for _ in range(8):
        x, y = rng.uniform(low, 1 - low), rng.uniform(low, 1 - low)
        apart = (
            (other.x - x) ** 2 + (other.y - y) ** 2 > (0.35 * (other.size + size) + 0.05) ** 2
            for other in (visit.item for visit in visits)
        )
        if all(apart):
            break
    return x, y
