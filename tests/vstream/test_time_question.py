"""A question in, what it asks about time out: kind, statements and how two of them are related."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.stream_world.wording import word_question
from vstream.planning.time_question import time_question

WORDED = (("owl", "fire truck"), ("red star", "owl at the top left"), ("ice cream", "blue ring"))
MEANT = {
    "when_first": "first",
    "when_last": "last",
    "count_times": "count",
    "how_long": "length",
    "order": "order",
    "while": "ever",
}

UNDERSTOOD = [
    ("when did the parcel come?", ("when", "is there a parcel?")),
    ("When was Anna here?", ("when", "is Anna there?")),
    ("when did you last see a red car", ("last", "is there a red car?")),
    ("when was the gate first opened?", ("first", "is the gate opened now?")),
    ("until when was the light on?", ("last", "is the light on now?")),
    ("how many times was the front gate open?", ("count", "is the front gate open now?")),
    ("please tell me how often the dog came", ("count", "is there a dog?")),
    ("how often did the dogs bark?", ("count", "do the dogs bark now?")),
    ("how long was the dog on the sofa in all?", ("length", "is the dog on the sofa now?")),
    ("how much time did the cat spend on it?", None),
    ("how much time did the cat spend on the bed?", ("length", "is the cat on the bed now?")),
    ("how long were the lights on?", ("length", "are the lights on now?")),
    ("which came first, the dog or a cat?", ("order", "is there a dog?", "is there a cat?")),
    ("has the parcel come yet?", ("ever", "is there a parcel?")),
    ("has anyone been at the door so far?", ("ever", "is anyone at the door now?")),
    (
        "was the gate open while the dog was in the garden?",
        ("ever", "is the gate open now?", "while", "the dog is in the garden now"),
    ),
    (
        "while the man was there, did you see a dog?",
        ("ever", "is there a dog?", "while", "is there a man?"),
    ),
    (
        "were the owl and the cat ever there together?",
        ("ever", "is there an owl?", "while", "is there a cat?"),
    ),
    (
        "did the postman come before the milkman?",
        ("ever", "is there a postman?", "before", "is there a milkman?"),
    ),
    (
        "how often was the gate open after the man left?",
        ("count", "is the gate open now?", "after", "is there a man?"),
    ),
]
WORDS = sorted({word for text, _ in UNDERSTOOD for word in text.split()})


def understood(text, **options):
    """The kind, the statements, and the relation with its other statement, as far as there are."""
    found = time_question(text, **options)
    if found is None:
        return None
    other = () if found.other is None else (found.relation, found.other.statement)
    return (found.kind, *(one.statement for one in found.clauses), *other)


@pytest.mark.parametrize(("text", "meant"), UNDERSTOOD)
def test_what_people_ask_is_understood(text, meant):
    assert understood(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "what do you see?",
        "is there a dog?",
        "have you seen a burger?",
        "how many people are there?",
        "where was the owl last seen?",
        "what color was the car when it first came?",
        "what did the man do when the dog came?",
        "what came after the owl?",
        "who came first?",
        "when did it come?",
        "when is the next bus?",
        "tell me when an owl appears",
        "tell me when you see a red car",
        "when did you last feed the dog?",
        "when did the dog come and how long did it stay?",
        "how long did the meeting last?",
        "describe the scene while the dog was there",
        "was it there for 3 minutes?",
        "",
    ],
)
def test_what_is_not_about_time_or_may_mean_anything_is_for_the_model(text):
    assert understood(text) is None


@given(
    st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(max_size=400),
)
def test_whatever_is_asked_is_understood_or_not(text):
    found = time_question(text)
    if found is not None:
        assert all(one.statement.strip() for one in found.clauses)
        assert len(found.clauses) == 1 + (found.kind == "order")
        assert (found.relation is None) == (found.other is None)


def test_a_long_text_is_no_question_about_time():
    assert understood("when was the owl " + "very " * 60 + "there?") is None


def test_a_named_time_asks_whether_it_was_so_then():
    assert understood("was there a dog?") is None
    assert understood("was there a dog?", names_time=True) == ("ever", "is there a dog?")


def test_who_left_is_asked_about_at_the_end():
    left, seen = (time_question(f"when {how}?") for how in ("did the man leave", "was a man seen"))
    assert left.clauses[0].is_over
    assert not seen.clauses[0].is_over


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("kind", MEANT)
def test_the_wordings_of_the_exam_are_understood(kind, split):
    rng = Random(f"{kind} {split}")
    for number in range(90):
        words = WORDED[number % len(WORDED)]
        found = time_question(word_question(kind, rng, split, name=words[0], other=words[1]))
        asked = [*found.clauses, *([found.other] if found.other else [])]
        named = {re.sub("^(?:the|an?) ", "", one.words) for one in asked}
        assert found.kind == MEANT[kind]
        assert named == set(words if kind in ("order", "while") else words[:1])
