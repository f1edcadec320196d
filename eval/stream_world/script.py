"""Script: what a seed's made-up stream shows, second by second.

Objects enter, move, change colour and leave; signs carry numbers; scenes change. The simulation is
causal: each second depends on the seed and the past, so a longer stream begins with the shorter one
of the same seed. Every `CHAPTER_S` seconds the pace and half of the cast change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from random import Random

from eval.stream_world.cast import Pace, draw_pace, draw_population
from eval.stream_world.moment import Kind, Moment
from eval.stream_world.stage import Stage
from eval.stream_world.vocabulary import SEEN_STYLES, SIGN, emoji_names, shape_names

CHAPTER_S = 64
MAX_ITEMS = 4


@dataclass(frozen=True)
class Script:
    """What a stream shows; `moments[i]` is second `i` unless the stream was retimed. `names` are
    all that may be asked about: whatever could be in such a stream. `needles` are those that appear
    exactly once in it, however long it goes on.
    """

    seed: int
    moments: tuple[Moment, ...]
    names: tuple[str, ...]
    needles: tuple[str, ...]

    def retimed(self, times_s: Sequence[int]) -> "Script":
        """Return the stream with other (increasing) times, as if it had gaps or another pace."""
        moments = zip(self.moments, times_s, strict=True)
        return replace(self, moments=tuple(replace(moment, time_s=t) for moment, t in moments))


def write_script(
    seed: int,
    length_s: int,
    styles: Sequence[str] = SEEN_STYLES,
    emoji: Sequence[str] | None = None,
) -> Script:
    """Return the first `length_s` seconds of that seed's stream; `emoji` limits what may appear."""
    emoji = emoji or emoji_names()
    moments = tuple(islice(play(seed, styles, emoji), length_s))
    shown = {item.name for moment in moments for item in moment.items}
    rare = (name for _, name in draw_population(seed, emoji).rare)
    needles = tuple(name for name in rare if name in shown)
    return Script(seed, moments, (*emoji, *shape_names(), SIGN), needles)


def play(
    seed: int,
    styles: Sequence[str] = SEEN_STYLES,
    emoji: Sequence[str] | None = None,
    pace: Pace | None = None,
) -> Iterator[Moment]:
    """Yield an endless stream's seconds; a given `pace` is kept, else each chapter draws one."""
    rng = Random(seed)
    population = draw_population(seed, emoji or emoji_names())
    needles = population.needles(seed)
    needle = next(needles, None)
    chapter_pace = pace or draw_pace(rng, population.emoji, population.shapes)
    stage = Stage(styles, rng)
    for second in count():
        if second and second % CHAPTER_S == 0 and pace is None:
            chapter_pace = draw_pace(rng, population.emoji, population.shapes, chapter_pace.cast)
        before = {item.name for item in stage.items}
        stage.go_on(second, chapter_pace)
        if needle is not None and needle.due_s <= second:  # nothing else enters while it waits
            if len(stage.items) < MAX_ITEMS and stage.enter(
                needle.kind, needle.name, second, needle.visit_s, chapter_pace
            ):
                needle = next(needles, None)
        else:
            _let_enter(stage, second, chapter_pace, before, rng)
        yield stage.moment(second)


def _let_enter(stage: Stage, second: int, pace: Pace, before: set[str], rng: Random) -> None:
    """Let members of the cast enter by chance, except those in view a second ago."""
    for _ in range(2 if rng.random() < 0.15 else 1):
        if len(stage.items) >= pace.max_items or rng.random() >= pace.enter_chance:
            continue
        away = before | {item.name for item in stage.items}
        free = [member for member in pace.cast if member[1] not in away]
        if not free:
            continue
        sign = (Kind.SIGN, SIGN)
        kind, name = rng.choice(free) if rng.random() < 0.8 or sign not in free else sign
        stage.enter(kind, name, second, rng.randint(2, pace.longest_visit_s), pace)
