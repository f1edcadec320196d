"""Times in answers: what the official patterns find, in any text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.etbench.answers import answer_times
from eval.etbench.time_scores import overlaps

TEXTS = st.text(st.sampled_from("0123456789..--:  to\n٣endstar"), max_size=40)


@given(TEXTS)
def test_the_quick_pattern_finds_what_the_plain_one_finds(text):
    """`(\\d+\\.*\\d*)\\s*-\\s*(\\d+\\.*\\d*)` is what the description gives."""
    pairs = re.findall(r"(\d+\.*\d*)\s*-\s*(\d+\.*\d*)", text)
    try:
        expected = tuple((min(a, b), max(a, b)) for a, b in (map(float, pair) for pair in pairs))
    except ValueError:
        assert answer_times(text) == ()
        return
    if pairs:
        assert answer_times(text) == expected


@given(TEXTS | st.text())
def test_spans_begin_before_they_end_and_are_never_negative(text):
    assert all(0 <= start <= end for start, end in answer_times(text))


@given(st.lists(st.tuples(st.floats(0, 9e3), st.floats(0, 9e3)), min_size=1, max_size=5))
def test_an_answer_in_the_asked_form_gives_back_its_times(pairs):
    spans = tuple((round(min(pair), 1), round(max(pair), 1)) for pair in pairs)
    text = f"The event happens in {', '.join(f'{start} - {end}' for start, end in spans)} seconds."
    assert answer_times(text) == spans


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("2-3 people, 10 - 20", ((2, 3), (10, 20))),
        ("-3 - 10", ((3, 10),)),
        ("1,020 - 1,030", ((1, 20),)),
        ("10 - 20 seconds", ((10, 20),)),
        ("20 - 10", ((10, 20),)),
        ("10.2s - 15.4s", ()),
        ("[10.2, 15.4]", ()),
        ("10s to 20s", ()),
        ("10 --> 20", ()),
        ("10 \N{EN DASH} 20", ()),
        ("starts at 5 and ends at 9", ()),
        ("starts at 5. ends at 9", ()),
        ("starts at 5! ends at 9", ((5, 9),)),
        ("the bend at 5\nstart 9\nend 12", ((5, 9),)),
        ("start 75.0s\nend 80", ((75, 80),)),
    ],
)
def test_the_official_reading_of_other_forms(text, spans):
    assert answer_times(text) == spans


def test_seven_tenths_are_too_few_for_a_number_and_enough_for_a_tensor():
    overlap = overlaps([(0.0, 7.0)], [(0.0, 10.0)])[0, 0]
    assert float(overlap) < 0.7
    assert overlap >= overlap.dtype.type(0.7)
