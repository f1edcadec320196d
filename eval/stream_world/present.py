"""Facts about the present: what the last seconds of a history show."""

from functools import partial
from itertools import pairwise
from random import Random

from eval.stream_world.history import Fact, FactFinder, History, Period, list_items
from eval.stream_world.moment import Item, Kind
from eval.stream_world.vocabulary import PLAIN, SIGN, cell

RECENT_S = 6
MAX_EVENTS = 3
UNCLEAR_S = 2


def _now(history: History) -> tuple[Period, ...]:
    return history.frames(history.last)


def _present_or_absent(history: History, rng: Random) -> tuple[str, bool] | None:
    """Return, half the time each, an object in view, or one that left or never came."""
    in_view = [item.name for item in history.now.items]
    if not in_view and rng.random() < 0.9:
        return None  # otherwise most objects asked about would be absent
    if in_view and rng.random() < 0.5:
        return rng.choice(in_view), True
    gone = [name for name in history.names if name not in in_view]
    absent = gone if gone and rng.random() < 0.6 else history.unseen
    return (rng.choice(absent), False) if absent else None


def _in_view(history: History, rng: Random, if_absent: str) -> Fact | None:
    found = _present_or_absent(history, rng)
    return found and Fact("yes" if found[1] else if_absent, _now(history), found[0])


def color(history: History, rng: Random) -> Fact | None:
    shapes = [item for item in history.now.items if item.color]
    if not shapes:
        return None
    item = rng.choice(shapes)
    return Fact(str(item.color), _now(history), item.name)


def where(history: History, rng: Random) -> Fact | None:
    if not history.now.items:
        return None
    item = rng.choice(history.now.items)
    if item.is_between_cells:
        return None
    return Fact(cell(item.x, item.y), _now(history), item.name)


def size(history: History, rng: Random) -> Fact | None:
    items = [item for item in history.now.items if item.kind is not Kind.SIGN]
    if not items:
        return None
    item = rng.choice(items)
    return Fact("large" if item.is_large else "small", _now(history), item.name)


def motion(history: History, rng: Random) -> Fact | None:
    """Ask only if two consecutive steps agree; less often about an object at rest."""
    if history.last < 2 or not history.now.items:
        return None
    name = rng.choice(history.now.items).name
    track = [history.moment(history.last - back).find(name) for back in (2, 1, 0)]
    items = [item for item in track if item is not None]
    if len(items) < 3 or len({item.track for item in items}) > 1:
        return None
    answer = _direction(items)
    if answer is None or (answer == "it is not moving" and rng.random() < 0.4):
        return None
    return Fact(answer, (history.span(history.last - 2, history.last),), name)


def _direction(items: list[Item]) -> str | None:
    steps = [(b.x - a.x, b.y - a.y) for a, b in pairwise(items)]
    if all(abs(dx) < 1e-6 and abs(dy) < 1e-6 for dx, dy in steps):
        return "it is not moving"
    for word, axis, sign in (("right", 0, 1), ("left", 0, -1), ("down", 1, 1), ("up", 1, -1)):
        if all(step[axis] * sign > 0.02 for step in steps):
            return word
    return None


def count(history: History, rng: Random) -> Fact:
    return Fact(str(len(history.now.items)), _now(history))


def list_now(history: History, rng: Random) -> Fact:
    return Fact(list_items(history.now), _now(history))


def scene(history: History, rng: Random) -> Fact | None:
    name = history.now.backdrop.scene
    return None if name == PLAIN else Fact(name, _now(history))


def sign(history: History, rng: Random) -> Fact | None:
    item = history.now.find(SIGN)
    return None if item is None else Fact(str(item.number), _now(history), SIGN)


def caption(history: History, rng: Random) -> Fact:
    name = history.now.backdrop.scene
    place = "" if name == PLAIN else f" ; {name}"
    return Fact(list_items(history.now) + place, _now(history))


def recent(history: History, rng: Random) -> Fact | None:
    """Return the changes of the last `RECENT_S` frames, if none came just before: such a change
    would be ambiguous. Nor may the backdrop have changed. A quiet time is asked about less often.
    """
    if history.last < 1:
        return None
    first = max(1, history.last - RECENT_S + 1)
    events = history.events(first)
    if len(events) > MAX_EVENTS or (not events and rng.random() < 0.6):
        return None
    first_unclear = max(1, first - UNCLEAR_S)
    if history.events(first_unclear) != events:
        return None
    frames = range(first_unclear - 1, history.last + 1)
    if len({history.moment(index).backdrop for index in frames}) > 1:
        return None
    answer = ", ".join(events) or "nothing changed"
    return Fact(answer, (history.span(first - 1, history.last),))


PRESENT: dict[str, FactFinder] = {
    "exist": partial(_in_view, if_absent="no"),
    "color": color,
    "where": where,
    "count": count,
    "list": list_now,
    "motion": motion,
    "size": size,
    "scene": scene,
    "sign": sign,
    "caption": caption,
    "recent": recent,
    "watch": partial(_in_view, if_absent="not yet"),
}
