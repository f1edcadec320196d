"""A statement about a drawing in, the questions that the embedded model was trained on out."""

import pytest

from encoders.check import Check
from encoders.drawn_statement import drawn_checks


@pytest.mark.parametrize(
    ("statement", "thing", "asked"),
    [
        ("a red star is there now", "a star", ("what color is the star?", "red")),
        ("is there an orange star?", "a star", ("what color is the star?", "orange")),
        ("tell me when an owl is at the top left", "an owl", ("where is the owl now?", "top left")),
        ("are there glasses in the center?", "a glasses", ("where is the glasses now?", "center")),
        ("is there an ice cream on the beach?", "an ice cream", ("what is the scene?", "beach")),
        ("the cat is against the night sky", "a cat", ("what is the scene?", "night sky")),
    ],
)
def test_each_part_is_asked_about(statement, thing, asked):
    *parts, named = drawn_checks(statement)
    there = (f"tell me when you see {thing}", "")
    assert [(one.question, one.answer) for one in parts] == [there, asked]
    assert f"a {named.name}" == thing.replace("an ", "a ", 1)


@pytest.mark.parametrize(
    "statement", ["an owl is there now", "is there an owl?", "the owl is there", "is an owl there?"]
)
def test_however_it_is_said_that_something_is_there_is_asked_in_the_same_words(statement):
    named = Check("what do you see now?", least=0.25, name="owl")
    assert drawn_checks(statement) == [Check("tell me when you see an owl"), named]


@pytest.mark.parametrize(
    "statement",
    ["the dog is on the sofa", "is the gate open now?", "a man is sleeping", "is it red?", ""],
)
def test_a_statement_of_another_kind_is_asked_about_as_it_is(statement):
    assert drawn_checks(statement) == []
