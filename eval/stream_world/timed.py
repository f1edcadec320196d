"""Timed questions: when, how often, how long, what first and what while, about statements.

Truths come from the spans in which statements held (`truth_spans`). Questions are drawn by age of
their evidence, number of times the statement held so far, and form of statement, all in turn. Each
stretch is one time. Only clear statements are asked about: no object was between two places. The
first four kinds also ask about what never held: an object never seen, or one that was seen, but
never in that colour, at that place or in that scene.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

from eval.stream_world.history import Period
from eval.stream_world.questions import Question
from eval.stream_world.scoring import NOW
from eval.stream_world.script import Script
from eval.stream_world.statement import FORMS, SpanIndex, Statement, statements_of
from eval.stream_world.vocabulary import UNSEEN, clock
from eval.stream_world.wording import Split, word_question

NEVER_SO = "never_so"
"""Requested like a kind of its own."""
TIMES = (range(1, 2), range(2, 6), range(6, 21))
"""How often a statement held: one of these in turn."""
CLEAR_S = 2
"""What overlapped, or missed each other, by less than this is not asked about."""
_TRIES = 40
_NEVER_ANSWERS = {"when_first": UNSEEN, "when_last": UNSEEN, "count_times": "0", "how_long": UNSEEN}


@dataclass(frozen=True)
class _Past:
    index: SpanIndex
    last: int
    rng: Random

    def spans(self, statement: Statement) -> list[range]:
        """Return the spans so far, in frames; none if they are in doubt."""
        is_clear = self.index.is_clear(statement, range(self.last + 1))
        return self.index.until(statement, self.last) if is_clear else []

    def periods(self, *spans: range) -> tuple[Period, ...]:
        moments = self.index.script.moments
        ordered = sorted(spans, key=lambda span: span.start)
        return tuple(Period(moments[one[0]].time_s, moments[one[-1]].time_s) for one in ordered)

    def other_than(self, one: Statement, drawn_from: Iterable[Statement]) -> Statement | None:
        """Return a random one whose name shares no word with `one`'s."""
        words = set(one.name.split())
        others = [other for other in drawn_from if words.isdisjoint(other.name.split())]
        return self.rng.choice(others) if others else None


@dataclass(frozen=True)
class _Fact:
    """An answer, its proof, and its subjects in the order of a wording's slots."""

    answer: str
    evidence: tuple[Period, ...]
    statements: tuple[Statement, ...]


def _when_first(past: _Past, one: Statement, spans: Sequence[range]) -> _Fact:
    (first,) = past.periods(spans[0][:1])
    return _Fact(f"at {clock(first.start_s)}", (first,), (one,))


def _when_last(past: _Past, one: Statement, spans: Sequence[range]) -> _Fact:
    (last,) = past.periods(spans[-1][-1:])
    is_now = spans[-1][-1] == past.last
    return _Fact(NOW if is_now else f"at {clock(last.start_s)}", (last,), (one,))


def _count_times(past: _Past, one: Statement, spans: Sequence[range]) -> _Fact:
    return _Fact(str(len(spans)), past.periods(*spans), (one,))


def _how_long(past: _Past, one: Statement, spans: Sequence[range]) -> _Fact:
    periods = past.periods(*spans)
    seconds = sum(period.end_s - period.start_s + 1 for period in periods)
    return _Fact(f"{seconds} second{'s' * (seconds != 1)}", periods, (one,))


def _order(past: _Past, one: Statement, spans: Sequence[range]) -> _Fact | None:
    index, since = past.index, range(spans[0].start + 1, past.last + 1)
    later = [
        it for it in index.by_form[past.rng.choice(FORMS)] if index.whole(it)[0].start in since
    ]
    other = past.other_than(one, later)
    others = past.spans(other) if other else []
    if not other or not others:
        return None
    statements = (one, other) if past.rng.random() < 0.5 else (other, one)
    return _Fact(f"the {one.words}", past.periods(spans[0][:1], others[0][:1]), statements)


def _together(past: _Past, during: Statement, spans: Sequence[range]) -> _Fact | None:
    shown = past.index.script.moments[past.rng.choice(past.rng.choice(spans))]
    so_then = [one for it in shown.items for one in statements_of(it, shown.backdrop.scene)]
    one = past.other_than(during, so_then)
    common = _common(spans, past.spans(one)) if one else []
    together = [both for both in common if len(both) >= CLEAR_S]
    if not one or not together or (one.scene and during.scene):
        return None
    return _Fact("yes", past.periods(*together), (one, during))


def _apart(past: _Past, during: Statement, spans: Sequence[range]) -> _Fact | None:
    one = past.other_than(during, past.index.by_form[past.rng.choice(FORMS)])
    others = past.spans(one) if one else []
    if not one or not others or (one.scene and during.scene):
        return None
    is_clear = all(both.start - both.stop >= CLEAR_S for both in _common(spans, others))
    return _Fact("no", past.periods(*spans), (one, during)) if is_clear else None


def _common(spans: Sequence[range], others: Sequence[range]) -> list[range]:
    """Return the frames that each two have in common; `start - stop` is by how many they miss."""
    return [range(max(a[0], b[0]), min(a[-1], b[-1]) + 1) for a in spans for b in others]


_Finder = Callable[[_Past, Statement, Sequence[range]], _Fact | None]
TIMED: dict[str, tuple[_Finder, ...]] = {
    "when_first": (_when_first,),
    "when_last": (_when_last,),
    "count_times": (_count_times,),
    "how_long": (_how_long,),
    "order": (_order,),
    "while": (_together, _apart),
}
"""The kinds, each with the ways to find one, taken in turn."""


@dataclass(frozen=True)
class _Turn:
    """The properties of one question; `find` None asks about what never held."""

    kind: str
    form: str
    find: _Finder | None = None
    times: range = TIMES[0]
    age_s: range = range(0)

    def draw(self, index: SpanIndex, at: range, rng: Random) -> tuple[int, _Fact] | None:
        """Return a frame to ask at and a fact; None if nothing fits this time."""
        if self.find is None:
            last = rng.choice(at)
            never = index.never(self.form, range(last + 1), rng)
            return (last, _Fact(_NEVER_ANSWERS[self.kind], (), (never,))) if never else None
        one = index.any(self.form, rng)
        if one is None:
            return None
        whole, moments = index.whole(one), index.script.moments
        proof = rng.choice(whole)[-1] if self.kind == "when_last" else whole[0][0]
        wanted = max(0, proof + rng.choice(self.age_s) - at.start)
        last = at.start + -(-wanted // at.step) * at.step
        past = _Past(index, last, rng)
        spans = past.spans(one) if last in at else []
        fact = self.find(past, one, spans) if len(spans) in self.times else None
        if fact and moments[last].time_s - fact.evidence[0].start_s in self.age_s:
            return last, fact
        return None


def _turns(kind: str, ages_s: Sequence[range]) -> list[list[_Turn]]:
    """Return turns by way of finding and times held; each group has all ages and forms."""
    if kind == NEVER_SO:
        return [[_Turn(asked, form) for form, asked in product(FORMS, _NEVER_ANSWERS)]]
    return [
        [_Turn(kind, form, find, times, age_s) for form, age_s in product(FORMS, ages_s)]
        for find, times in product(TIMED[kind], TIMES)
    ]


def draw_timed(
    script: Script,
    num_by_kind: Mapping[str, int],
    ages_s: Sequence[range],
    rng: Random,
    split: Split = "train",
    asked: range | None = None,
) -> list[Question]:
    """Draw questions of each kind of TIMED, and of NEVER_SO, in the order of asking; fewer if the
    stream offers less. `ages_s`: of the oldest evidence, in turn. `asked`: frames to ask at.
    """
    index, found = SpanIndex(script), dict[tuple[object, ...], Question]()
    at = range(len(script.moments)) if asked is None else asked
    for kind, num in num_by_kind.items():
        goal = len(found) + num
        left = deque(deque(rng.sample(turns, len(turns))) for turns in _turns(kind, ages_s))
        while left and len(found) < goal:
            turns = left.popleft()
            turn = turns.popleft()
            for _ in range(_TRIES):
                drawn = turn.draw(index, at, rng)
                if drawn and (key := (turn.kind, drawn[0], drawn[1].statements)) not in found:
                    found[key] = _worded(script, turn.kind, *drawn, rng, split)
                    turns.append(turn)
                    break
            left.extend([turns] if turns else [])
    return sorted(found.values(), key=lambda question: question.asked_s)


def _worded(
    script: Script, kind: str, last: int, fact: _Fact, rng: Random, split: Split
) -> Question:
    words = [one.words for one in fact.statements]
    names = tuple(one.name for one in fact.statements)
    return Question(
        kind,
        word_question(kind, rng, split, name=words[0], other=words[-1]),
        fact.answer,
        script.moments[last].time_s,
        fact.evidence,
        names,
        bool(fact.evidence) and not set(names).isdisjoint(script.needles),
        fact.statements,
    )
