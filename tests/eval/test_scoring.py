from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.stream_world import Score, normalised, score
from eval.stream_world.vocabulary import clock

things = st.lists(st.sampled_from(["an owl", "a red star", "a sign with 47", "the cup left"]))


@pytest.mark.parametrize(
    ("truth", "given", "expected"),
    [
        ("yes", "yes", Score(True, True)),
        ("yes", " Yes. ", Score(True, False)),
        ("yes", "no", Score(False, False)),
        ("a dog, a red star", "a red star, a dog", Score(True, False)),
        ("a dog, a red star", "a dog", Score(False, False)),
        ("a dog ; beach", "a dog; beach", Score(True, False)),
        ("a dog", "the dog", Score(True, False)),
        ("3", "Three", Score(True, False)),
        ("right now", "at 0h01m38s", Score(True, False)),
        ("at 0h01m38s", "right now", Score(True, False)),
        ("at 0h01m30s", "right now", Score(False, False)),
        ("not seen", "at 0h00m10s", Score(False, False)),
    ],
)
def test_answers_are_compared_without_case_order_and_punctuation(
    truth: str, given: str, expected: Score
) -> None:
    assert score(truth, given, asked_s=100) == expected


@pytest.mark.parametrize(
    ("given", "asked_s", "is_right"),
    [
        ("at 0h10m00s", 700, True),
        ("at 0h10m03s", 610, True),
        ("at 0h10m04s", 610, False),
        ("at 0h11m00s", 1800, True),
        ("at 0h11m01s", 1800, False),
        ("ten minutes in", 700, False),
        ("not at 0h10m00s", 700, False),
        ("at 0h10m00s, at 0h20m00s", 700, False),
    ],
)
def test_a_time_may_be_off_by_three_seconds_or_a_twentieth_of_its_age(
    given: str, asked_s: int, is_right: bool
) -> None:
    assert score("at 0h10m00s", given, asked_s).is_right == is_right


@given(things, st.randoms(), st.sampled_from([", ", "; ", " ,  "]))
def test_a_list_is_right_in_any_order_spelling_and_spacing(
    listed: list[str], rng: Random, separator: str
) -> None:
    truth, shuffled = ", ".join(listed), rng.sample(listed, len(listed))
    given_answer = separator.join(shuffled).upper() + "."
    assert score(truth, given_answer, 10).is_right
    assert score(given_answer, truth, 10).is_right
    assert normalised(normalised(truth)) == normalised(truth)
    assert not score(truth, ", ".join([*listed, "a cat"]), 10).is_right


@given(st.integers(0, 80_000), st.integers(0, 40_000), st.integers(-3_000, 3_000))
def test_a_time_is_right_exactly_within_its_tolerance(true_s: int, age_s: int, off_s: int) -> None:
    given_s = max(0, true_s + off_s)
    answer = score(f"at {clock(true_s)}", f"at {clock(given_s)}", true_s + age_s)
    assert answer.is_right == (abs(given_s - true_s) <= max(3, age_s / 20))
    assert answer.is_exact == (given_s == true_s)
