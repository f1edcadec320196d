"""Facts against a brute-force reading of the moments, written without History."""

import re
from collections.abc import Callable
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import (
    KINDS,
    History,
    Item,
    Kind,
    Moment,
    Question,
    Script,
    Split,
    ask,
    noisy,
    score,
    write_script,
)
from eval.stream_world.vocabulary import cell, clock, parse_clock

Moments = tuple[Moment, ...]
seeds = st.integers(0, 10_000)


def frames_with(past: Moments, name: str) -> list[int]:
    return [index for index, moment in enumerate(past) if moment.find(name)]


def arrivals(past: Moments, name: str) -> list[int]:
    seen = frames_with(past, name)
    return [index for index in seen if index - 1 not in seen]


def newcomers(past: Moments) -> list[tuple[int, str]]:
    """(frame, name) of everything that came into view after the first frame."""
    return [
        (index, name)
        for index in range(1, len(past))
        for name in sorted({i.name for i in past[index].items})
        if past[index - 1].find(name) is None
    ]


def item_at(past: Moments, index: int, name: str) -> Item:
    item = past[index].find(name)
    assert item is not None
    return item


def told(item: Item) -> str:
    if item.kind is Kind.SIGN:
        return f"a sign with {item.number}"
    words = f"{item.color} {item.name}" if item.color else item.name
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def list_of(moment: Moment) -> str:
    return ", ".join(told(item) for item in moment.items) or "nothing"


def caption(past: Moments) -> str:
    scene = past[-1].backdrop.scene
    return list_of(past[-1]) if scene == "plain" else f"{list_of(past[-1])} ; {scene}"


def motion(past: Moments, name: str) -> str:
    then, now = item_at(past, len(past) - 3, name), item_at(past, len(past) - 1, name)
    dx, dy = now.x - then.x, now.y - then.y
    if dx == dy == 0:
        return "it is not moving"
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def neighbour(past: Moments, name: str, step: int) -> str:
    coming = newcomers(past)
    (place,) = [index for index, (_, newcomer) in enumerate(coming) if newcomer == name]
    return f"the {coming[place + step][1]}"


def recent_changes(past: Moments) -> str:
    changes = []
    for before, after in zip(past[-7:], past[-7:][1:], strict=False):
        for name in {i.name for i in (*before.items, *after.items)}:
            old, new = before.find(name), after.find(name)
            if old is None and new is not None:
                changes.append(f"{told(new)} appeared")
            elif new is None:
                changes.append(f"the {name} left")
            elif old is not None and old.color != new.color:
                changes.append(f"the {name} turned {new.color}")
    return ", ".join(changes) or "nothing changed"


def came_in_the_last_minute(past: Moments) -> str:
    came: dict[str, str] = {}
    for index, name in newcomers(past):
        if past[-1].time_s - past[index].time_s < 60:
            came.setdefault(name, told(item_at(past, index, name)))
    return ", ".join(came.values()) or "nothing"


def first(past: Moments, name: str) -> Item:
    return item_at(past, frames_with(past, name)[0], name)


def last(past: Moments, name: str) -> Item:
    return item_at(past, frames_with(past, name)[-1], name)


def place(item: Item) -> str:
    return cell(item.x, item.y)


def at(past: Moments, index: int) -> str:
    return f"at {clock(past[index].time_s)}"


Reading = Callable[[Moments, str], str]
PLAIN_READINGS: dict[str, Reading] = {
    "exist": lambda past, n: "yes" if past[-1].find(n) else "no",
    "watch": lambda past, n: "yes" if past[-1].find(n) else "not yet",
    "count": lambda past, n: str(len(past[-1].items)),
    "list": lambda past, n: list_of(past[-1]),
    "scene": lambda past, n: past[-1].backdrop.scene,
    "caption": lambda past, n: caption(past),
    "recent": lambda past, n: recent_changes(past),
    "color": lambda past, n: str(item_at(past, len(past) - 1, n).color),
    "where": lambda past, n: place(item_at(past, len(past) - 1, n)),
    "size": lambda past, n: "large" if item_at(past, len(past) - 1, n).size > 0.3 else "small",
    "sign": lambda past, n: str(item_at(past, len(past) - 1, n).number),
    "motion": motion,
    "seen_yet": lambda past, n: "yes" if frames_with(past, n) else "no",
    "count_times": lambda past, n: str(len(arrivals(past, n))),
    "after": lambda past, n: neighbour(past, n, 1),
    "before": lambda past, n: neighbour(past, n, -1),
    "last_minute": lambda past, n: came_in_the_last_minute(past),
}
READINGS_IF_SEEN: dict[str, Reading] = {
    "color_first": lambda past, n: str(first(past, n).color),
    "color_last": lambda past, n: str(last(past, n).color),
    "when_first": lambda past, n: at(past, frames_with(past, n)[0]),
    "when_last": lambda past, n: (
        "right now" if past[-1].find(n) else at(past, frames_with(past, n)[-1])
    ),
    "sign_past": lambda past, n: str(last(past, n).number),
    "scene_past": lambda past, n: past[frames_with(past, n)[-1]].backdrop.scene,
    "where_past": lambda past, n: place(first(past, n)),
}


def read(question: Question, past: Moments) -> str:
    """The true answer."""
    name = question.names[0] if question.names else ""
    if question.kind == "at_time":
        time_s = parse_clock(question.text)
        return list_of(next(moment for moment in past if moment.time_s == time_s))
    if question.kind == "order":
        return f"the {min(question.names, key=lambda n: frames_with(past, n)[0])}"
    if question.kind in PLAIN_READINGS:
        return PLAIN_READINGS[question.kind](past, name)
    if not frames_with(past, name):
        return "not seen"
    return READINGS_IF_SEEN[question.kind](past, name)


known_script = cache(write_script)


def ask_some(
    script: Script, kind: str, seed: int, num_moments: int, split: Split = "train"
) -> list[tuple[Question, int]]:
    """Questions of a kind at random moments, each with the index of its moment."""
    rng, history = Random(seed), History.of(script)
    moments = (rng.randint(0, history.last) for _ in range(num_moments))
    asked = ((ask(kind, history.until(now), rng, split), now) for now in moments)
    return [(question, now) for question, now in asked if question is not None]


@given(seeds)
@settings(max_examples=15)
def test_every_answer_is_what_a_plain_reading_of_the_moments_says(seed: int) -> None:
    script = write_script(seed, 150)
    for kind in KINDS:
        for question, now in ask_some(script, kind, seed, 8):
            past = script.moments[: now + 1]
            truth = read(question, past)
            assert score(truth, question.answer, question.asked_s).is_right, (question, truth)
            assert score(question.answer, question.answer, question.asked_s).is_exact


SAYS_LAST = re.compile(r"\b(last|latest|final|most recent|most recently)\b")
ANSWERS_OF_SIGHTINGS: dict[str, Callable[[Moments, str], set[str]]] = {
    "color_last": lambda past, n: {str(m.find(n).color) for m in past if m.find(n)},
    "sign_past": lambda past, n: {str(m.find(n).number) for m in past if m.find(n)},
    "scene_past": lambda past, n: {m.backdrop.scene for m in past if m.find(n)},
}


@pytest.mark.parametrize("split", ["train", "spoken", "held_out"])
@pytest.mark.parametrize("kind", list(ANSWERS_OF_SIGHTINGS))
def test_where_sightings_differ_the_question_says_that_the_last_one_is_meant(
    kind: str, split: Split
) -> None:
    differing, agreeing = [], []
    for seed in range(24):
        script = known_script(seed, 300)
        for question, now in ask_some(script, kind, seed, 16, split):
            answers = ANSWERS_OF_SIGHTINGS[kind](script.moments[: now + 1], question.names[0])
            (differing if len(answers) > 1 else agreeing).append(question)
    assert len(differing) > 20
    for question in differing:
        noises = [noisy(question.text, question.names, Random(seed)) for seed in range(20)]
        for text in (question.text, *noises):
            assert SAYS_LAST.search(text), (text, question)
    if (kind, split) != ("color_last", "held_out"):  # they say so in any case
        assert not all(SAYS_LAST.search(question.text) for question in agreeing)


@pytest.mark.parametrize("kind", ["list", "caption", "recent", "at_time", "last_minute"])
def test_lists_are_right_in_any_order(kind: str) -> None:
    questions = [q for seed in range(30) for q, _ in ask_some(known_script(seed, 150), kind, 1, 30)]
    lists = [q for q in questions if ", " in q.answer.split(" ; ")[0]]
    assert lists
    for question in lists:
        listed, *scene = question.answer.split(" ; ")
        turned = " ; ".join([", ".join(reversed(listed.split(", "))), *scene])
        assert score(question.answer, turned, question.asked_s).is_right
        assert score(turned, question.answer, question.asked_s).is_right
        fewer = " ; ".join([listed.rpartition(", ")[0], *scene])
        assert not score(question.answer, fewer, question.asked_s).is_right


@given(seeds)
@settings(max_examples=15)
def test_the_evidence_is_just_what_the_answer_needs(seed: int) -> None:
    script = write_script(seed, 150)
    expected = {
        "color_first": lambda past, name: [frames_with(past, name)[0]],
        "where_past": lambda past, name: [frames_with(past, name)[0]],
        "when_first": lambda past, name: [frames_with(past, name)[0]],
        "color_last": lambda past, name: [frames_with(past, name)[-1]],
        "when_last": lambda past, name: [frames_with(past, name)[-1]],
        "count_times": arrivals,
    }
    for kind, frames in expected.items():
        for question, now in ask_some(script, kind, seed, 8):
            past, name = script.moments[: now + 1], question.names[0]
            assert all(span.start_s == span.end_s for span in question.evidence)
            starts = [span.start_s for span in question.evidence]
            assert starts == (frames(past, name) if frames_with(past, name) else [])


@given(seeds)
@settings(max_examples=15)
def test_after_and_before_are_proved_by_two_arrivals(seed: int) -> None:
    script = write_script(seed, 150)
    for kind in ("after", "before"):
        for question, now in ask_some(script, kind, seed, 8):
            first, second = question.evidence
            name, other = question.names[0], question.answer.removeprefix("the ")
            of_name, of_other = (first, second) if kind == "after" else (second, first)
            (here_s,) = arrivals(script.moments[: now + 1], name)
            assert of_name.start_s == of_name.end_s == here_s
            assert of_other.end_s == of_other.start_s + 1  # with the frame before
            came = newcomers(script.moments[: now + 1])
            between = [n for t, n in came if first.end_s < t < second.end_s]
            assert (of_other.end_s, other) in came
            assert not between
            assert abs(here_s - of_other.end_s) <= 12


@given(seeds, st.sampled_from(sorted(KINDS)), st.integers(0, 63))
@settings(max_examples=60)
def test_the_future_changes_neither_question_nor_answer(seed: int, kind: str, now: int) -> None:
    known = History.of(write_script(seed, now + 1))
    longer = History.of(write_script(seed, 120)).until(now)
    assert ask(kind, known, Random(seed)) == ask(kind, longer, Random(seed))
