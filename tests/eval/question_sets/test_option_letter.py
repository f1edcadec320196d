"""The strict reading of an answer to a choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.question_sets.benchmark import only_letter

READ = {
    "C": "C",
    " c ": "C",
    "(B)": "B",
    "B.": "B",
    "**D**": "D",
    "A. The B team wins": "A",
    "B) green": "B",
    "The answer is C": "C",
    "Option B is right": "B",
    "The correct option is (D).": "D",
    "I choose\nB": "B",
    "Answer: A": "A",
}
NOT_READ = {
    "": "nothing",
    "ABCD": "several, run together",
    "A, B": "two",
    "A. red; B. green": "two",
    "A B C D": "four",
    "C because A. is wrong": "two, the second marked",
    "A or B": "two",
    "A person walks": "an article",
    "Because it is blue": "a word",
    "E": "no such option",
    "3": "a number",
    "\u0410": "a Cyrillic letter that looks like A",
    "(": "punctuation",
}


@pytest.mark.parametrize("text", READ)
def test_one_letter_is_read(text):
    assert only_letter(text, 4) == READ[text]


@pytest.mark.parametrize("text", NOT_READ)
def test_anything_else_is_none(text):
    assert only_letter(text, 4) is None


def test_only_letters_of_options_count():
    assert only_letter("E", 5) == "E"
    assert only_letter("The answer is B, not F", 4) == "B"
    assert only_letter("C", 2) is None


@given(st.text())
def test_whatever_is_said_it_is_an_option_or_none(text):
    assert only_letter(text, 3) in ("A", "B", "C", None)
