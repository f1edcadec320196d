"""Facts about the past: a history in, what it once showed out, with the moments that prove it."""

from itertools import pairwise
from random import Random

from eval.stream_world.fact import Fact, FactFinder, any_name, is_between_cells
from eval.stream_world.history import History, Span, list_items
from eval.stream_world.vocabulary import PLAIN, SIGN, UNSEEN, cell, clock, shape_names

MAX_TIMES = 6
MAX_GAP_FRAMES = 24
NEVER_SEEN_CHANCE = 0.08


def _spans(history: History, name: str) -> tuple[Span, ...]:
    return tuple(history.span(stretch.first, stretch.last) for stretch in history.appearances(name))


def _frame(history: History, index: int) -> tuple[Span, ...]:
    return (history.span(index, index),)


def _some_name(history: History, rng: Random) -> str:
    """Mostly an object that has been seen."""
    if not history.names or rng.random() < NEVER_SEEN_CHANCE:
        return any_name(rng)
    return rng.choice(history.names)


def seen_yet(history: History, rng: Random) -> Fact:
    seen = history.names
    name = rng.choice(seen) if seen and rng.random() < 0.5 else any_name(rng)
    return Fact("yes" if name in seen else "no", _spans(history, name), name)


def _color_at(history: History, rng: Random, which: int) -> Fact | None:
    seen = [name for name in history.names if name in shape_names()]
    if rng.random() < NEVER_SEEN_CHANCE:
        seen = list(shape_names())
    if not seen:
        return None
    name = rng.choice(seen)
    frames = history.sightings(name)
    if not frames:
        return Fact(UNSEEN, (), name)
    color = history.item(frames[which], name).color
    return Fact(str(color), _frame(history, frames[which]), name)


def color_first(history: History, rng: Random) -> Fact | None:
    return _color_at(history, rng, 0)


def color_last(history: History, rng: Random) -> Fact | None:
    return _color_at(history, rng, -1)


def when_first(history: History, rng: Random) -> Fact:
    name = _some_name(history, rng)
    frames = history.sightings(name)
    if not frames:
        return Fact(UNSEEN, (), name)
    time_s = history.moments[frames[0]].time_s
    return Fact(f"at {clock(time_s)}", _frame(history, frames[0]), name)


def when_last(history: History, rng: Random) -> Fact | None:
    """An object still in view (`right now`) is asked about less often."""
    name = _some_name(history, rng)
    frames = history.sightings(name)
    if not frames:
        return Fact(UNSEEN, (), name)
    if frames[-1] == history.last:
        return None if rng.random() < 0.8 else Fact("right now", _frame(history, frames[-1]), name)
    time_s = history.moments[frames[-1]].time_s
    return Fact(f"at {clock(time_s)}", _frame(history, frames[-1]), name)


def count_times(history: History, rng: Random) -> Fact | None:
    """The evidence is each appearance and, between two of them, a moment without the object."""
    name = _some_name(history, rng)
    repeated = [n for n in history.names if len(history.appearances(n)) >= 2]
    if repeated and rng.random() < 0.5:
        name = rng.choice(repeated)
    stretches = history.appearances(name)
    if len(stretches) > MAX_TIMES:
        return None
    evidence = list(_spans(history, name))
    for before, after in pairwise(stretches):
        evidence += _frame(history, rng.randint(before.last + 1, after.first - 1))
    evidence.sort(key=lambda span: span.start_s)
    return Fact(str(len(stretches)), tuple(evidence), name)


def order(history: History, rng: Random) -> Fact | None:
    if len(history.names) < 2:
        return None
    name, other = rng.sample(history.names, 2)
    first, second = history.sightings(name)[0], history.sightings(other)[0]
    if first == second:
        return None
    evidence = sorted((first, second))
    spans = tuple(history.span(index, index) for index in evidence)
    return Fact(f"the {name if first < second else other}", spans, name, other)


def after(history: History, rng: Random) -> Fact | None:
    """Only for an object that came once, followed by the arrival of exactly one other."""
    entries = sorted(
        (stretch.first, name)
        for name in history.names
        for stretch in history.appearances(name)
        if stretch.first > 0
    )
    clear = [
        (first, name, following, next_name)
        for (first, name), (following, next_name) in pairwise(entries)
        if len(history.appearances(name)) == 1
        and sum(index == first for index, _ in entries) == 1
        and sum(index == following for index, _ in entries) == 1
        and following - first < MAX_GAP_FRAMES
    ]
    if not clear:
        return None
    first, name, following, next_name = rng.choice(clear)
    return Fact(f"the {next_name}", (history.span(first - 1, following),), name)


def sign_past(history: History, rng: Random) -> Fact | None:
    """Only while no sign is in view, and if its last appearance showed a single number."""
    stretches = history.appearances(SIGN)
    if not stretches or stretches[-1].last == history.last:
        return None
    final = stretches[-1]
    numbers = {history.item(i, SIGN).number for i in range(final.first, final.last + 1)}
    if len(numbers) > 1:
        return None
    return Fact(str(numbers.pop()), (history.span(final.first, final.last),), SIGN)


def at_time(history: History, rng: Random) -> Fact | None:
    index = rng.randint(0, history.last)
    moment = history.moments[index]
    if not moment.items and rng.random() < 0.5:
        return None
    return Fact(list_items(moment), _frame(history, index), time_s=moment.time_s)


def scene_past(history: History, rng: Random) -> Fact | None:
    """Only if the last appearance lies within one scene that has a name."""
    name = _some_name(history, rng)
    stretches = history.appearances(name)
    if not stretches:
        return Fact(UNSEEN, (), name)
    final = stretches[-1]
    scenes = {history.moments[i].backdrop.scene for i in range(final.first, final.last + 1)}
    if len(scenes) > 1 or PLAIN in scenes:
        return None
    return Fact(scenes.pop(), (history.span(final.first, final.last),), name)


def where_past(history: History, rng: Random) -> Fact | None:
    name = _some_name(history, rng)
    frames = history.sightings(name)
    if not frames:
        return Fact(UNSEEN, (), name)
    item = history.item(frames[0], name)
    if is_between_cells(item):
        return None
    return Fact(cell(item.x, item.y), _frame(history, frames[0]), name)


PAST: dict[str, FactFinder] = {
    "seen_yet": seen_yet,
    "color_first": color_first,
    "color_last": color_last,
    "when_first": when_first,
    "when_last": when_last,
    "count_times": count_times,
    "order": order,
    "after": after,
    "sign_past": sign_past,
    "at_time": at_time,
    "scene_past": scene_past,
    "where_past": where_past,
}
