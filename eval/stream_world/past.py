"""Facts about the past: what a history once showed, with the moments that prove it.

Every fact is beyond doubt for a person who watched the whole history carefully; doubtful ones are
not asked about. If only the last of several sightings is meant, the fact says whether they differ.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from random import Random

from eval.stream_world.history import Entry, Fact, FactFinder, History, describe, list_items
from eval.stream_world.vocabulary import PLAIN, SIGN, UNSEEN, cell, clock, shape_names

MAX_TIMES = 6
MAX_GAP_FRAMES = 12
MAX_NEWCOMERS = 4
MINUTE_S = 60
UNCLEAR_S = 1
"""An entry this near the start of the last minute is not clearly in or out of it."""
NEVER_SEEN_SHARE = 0.2
NEEDLE_SHARE = 0.1
"""In this share of draws a needle is preferred, if one was seen."""
IN_VIEW_SHARE = 0.15


def _shuffled(history: History, rng: Random, names: Sequence[str]) -> list[str]:
    """Return the names at random, sometimes the needles first."""
    order = rng.sample(names, len(names))
    if rng.random() < NEEDLE_SHARE:
        needles = frozenset(history.needles)
        order.sort(key=lambda name: name not in needles)
    return order


def _about_one(
    history: History,
    rng: Random,
    names: Sequence[str],
    find: Callable[[str], Fact | None],
    unseen_answer: str = UNSEEN,
    is_askable: Callable[[str], bool] = lambda name: True,
) -> Fact | None:
    """Return the first clear fact about one of `names` (all seen), or one about an unseen name."""
    unseen = [name for name in history.unseen if is_askable(name)]
    if not names:
        return None
    if unseen and rng.random() < NEVER_SEEN_SHARE:
        return Fact(unseen_answer, (), rng.choice(unseen))
    facts = (find(name) for name in _shuffled(history, rng, names))
    return next((fact for fact in facts if fact is not None), None)


def seen_yet(history: History, rng: Random) -> Fact | None:
    """Take the latest appearance as proof."""
    names, unseen = history.names, history.unseen
    if not names or not unseen:
        return None
    if rng.random() < 0.5:
        return Fact("no", (), rng.choice(unseen))
    name = _shuffled(history, rng, names)[0]
    latest = history.appearances(name)[-1]
    return Fact("yes", (history.span(latest[0], latest[-1]),), name)


def _color_at(history: History, rng: Random, which: int) -> Fact | None:
    def find(name: str) -> Fact:
        sightings = history.sightings(name)
        color = history.item(sightings[which], name).color
        is_last = sightings[which] == sightings[-1]
        differs = is_last and any(history.item(i, name).color != color for i in sightings)
        evidence = history.frames(sightings[which])
        return Fact(str(color), evidence, name, differs_earlier=differs)

    shapes = frozenset(shape_names())
    seen = [name for name in history.names if name in shapes]
    return _about_one(history, rng, seen, find, is_askable=shapes.__contains__)


def when_first(history: History, rng: Random) -> Fact | None:
    def find(name: str) -> Fact:
        index = history.appearances(name)[0].start
        time_s = history.moment(index).time_s
        return Fact(f"at {clock(time_s)}", history.frames(index), name)

    return _about_one(history, rng, history.names, find)


def when_last(history: History, rng: Random) -> Fact | None:
    """Ask less often about an object still in view (`right now`)."""

    def find(name: str) -> Fact:
        index = history.appearances(name)[-1][-1]
        answer = f"at {clock(history.moment(index).time_s)}"
        if index == history.last:
            answer = "right now"
        return Fact(answer, history.frames(index), name)

    in_view = {item.name for item in history.now.items}
    is_wanted = rng.random() < IN_VIEW_SHARE
    names = [name for name in history.names if (name in in_view) == is_wanted]
    return _about_one(history, rng, names, find)


def count_times(history: History, rng: Random) -> Fact | None:
    """Ask half the time about an object that came more than once."""

    def find(name: str) -> Fact | None:
        firsts = [stretch.start for stretch in history.appearances(name)]
        if not least <= len(firsts) <= MAX_TIMES:
            return None
        return Fact(str(len(firsts)), history.frames(*firsts), name)

    least = rng.choice((1, 2))
    return _about_one(history, rng, history.names, find, unseen_answer="0")


def order(history: History, rng: Random) -> Fact | None:
    """Ask only about two objects that did not come in the same second."""
    names = _shuffled(history, rng, history.names)
    first_sight = {name: history.appearances(name)[0].start for name in names}
    others = [name for name in names[1:] if first_sight[name] != first_sight[names[0]]]
    if not others:
        return None
    name, other = rng.sample((names[0], rng.choice(others)), 2)
    earlier = min(name, other, key=lambda n: first_sight[n])
    evidence = history.frames(first_sight[name], first_sight[other])
    return Fact(f"the {earlier}", evidence, name, other)


def _neighbours(history: History) -> list[tuple[Entry, Entry]]:
    """Return pairs of consecutive close entries, each the only one of its second."""
    entries = history.entries
    crowded = {a.frame for a, b in pairwise(entries) if a.frame == b.frame}
    return [
        (a, b)
        for a, b in pairwise(entries)
        if not crowded & {a.frame, b.frame} and b.frame - a.frame <= MAX_GAP_FRAMES
    ]


def _next_to(history: History, rng: Random, is_after: bool) -> Fact | None:
    """Ask only about an object that came once, with exactly one object next after or before it."""
    neighbours = {
        (first if is_after else then).name: (first, then) for first, then in _neighbours(history)
    }
    for name in _shuffled(history, rng, sorted(neighbours)):
        if len(history.appearances(name)) == 1:
            first, then = neighbours[name]
            other = then if is_after else first
            # The previous frame tells the newcomer from objects already there.
            starts = [one.frame - 1 if one is other else one.frame for one in neighbours[name]]
            evidence = history.span(starts[0], first.frame), history.span(starts[1], then.frame)
            return Fact(f"the {other.name}", evidence, name)
    return None


def sign_past(history: History, rng: Random) -> Fact | None:
    """Ask only while no sign is in view."""
    stretches = history.appearances(SIGN)
    if not stretches or stretches[-1][-1] == history.last:
        return None
    final = stretches[-1]
    number = history.item(final.start, SIGN).number
    differs = any(history.item(i, SIGN).number != number for i in history.sightings(SIGN))
    evidence = (history.span(final[0], final[-1]),)
    return Fact(str(number), evidence, SIGN, differs_earlier=differs)


def at_time(history: History, rng: Random) -> Fact | None:
    index = rng.randint(0, history.last)
    moment = history.moment(index)
    if not moment.items and rng.random() < 0.5:
        return None
    return Fact(list_items(moment), history.frames(index), time_s=moment.time_s)


def scene_past(history: History, rng: Random) -> Fact | None:
    """Ask only if the last appearance lies within one scene that has a name."""

    def find(name: str) -> Fact | None:
        final = history.appearances(name)[-1]
        scenes = {history.moment(index).backdrop.scene for index in final}
        if len(scenes) > 1 or PLAIN in scenes:
            return None
        scene = scenes.pop()
        earlier = (history.moment(index).backdrop.scene for index in history.sightings(name))
        differs = any(other != scene for other in earlier)
        evidence = (history.span(final[0], final[-1]),)
        return Fact(scene, evidence, name, differs_earlier=differs)

    return _about_one(history, rng, history.names, find)


def where_past(history: History, rng: Random) -> Fact | None:
    """Ask where the object was in the first frame that showed it."""

    def find(name: str) -> Fact | None:
        index = history.appearances(name)[0].start
        item = history.item(index, name)
        if item.is_between_cells:
            return None
        return Fact(cell(item.x, item.y), history.frames(index), name)

    return _about_one(history, rng, history.names, find)


def last_minute(history: History, rng: Random) -> Fact | None:
    """Ask only if it is clear what came in the last minute, and in what guise."""
    since_s = history.now.time_s - MINUTE_S
    first = history.moment(0)
    if first.items and first.time_s > since_s - UNCLEAR_S:
        return None  # nobody can say when they came
    came: dict[str, Entry] = {}
    for entry in reversed(history.entries):
        age_s = history.moment(entry.frame).time_s - since_s
        if age_s < -UNCLEAR_S:
            break
        if abs(age_s) <= UNCLEAR_S:
            return None
        later = came.get(entry.name)
        if later and _guise(history, later) != _guise(history, entry):
            return None
        came[entry.name] = entry
    if len(came) > MAX_NEWCOMERS or (not came and rng.random() < 0.6):
        return None
    newcomers = sorted(came.values())
    answer = ", ".join(_guise(history, entry) for entry in newcomers) or "nothing"
    return Fact(answer, history.frames(*(entry.frame for entry in newcomers)))


def _guise(history: History, entry: Entry) -> str:
    return describe(history.item(entry.frame, entry.name))


PAST: dict[str, FactFinder] = {
    "seen_yet": seen_yet,
    "color_first": partial(_color_at, which=0),
    "color_last": partial(_color_at, which=-1),
    "when_first": when_first,
    "when_last": when_last,
    "count_times": count_times,
    "order": order,
    "after": partial(_next_to, is_after=True),
    "before": partial(_next_to, is_after=False),
    "sign_past": sign_past,
    "at_time": at_time,
    "scene_past": scene_past,
    "where_past": where_past,
    "last_minute": last_minute,
}
