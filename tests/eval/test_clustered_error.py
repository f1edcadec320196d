"""The standard error of clustered scores, against sums done by hand and the textbook's formula."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.clustered_error import Mark, Part, estimate

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


def part(weight, *marks):
    return Part(weight, [Mark(cluster, value) for cluster, value in marks])


def test_a_plain_mean_by_hand():
    # Mean 1/2. Video a: 1/2 + 1/2 - 1/2 = 1/2; video b: -1/2. The root of 2/1 of (1/4 + 1/4) / 4.
    plain = part(1.0, ("a", 1), ("a", 1), ("a", 0), ("b", 0))
    assert estimate([plain]).mean == 50
    assert estimate([plain], 1).stderr == pytest.approx(math.sqrt(2 * (1 / 4 + 1 / 4)) / 4)


def test_a_mean_of_two_tasks_that_share_a_video_by_hand():
    # Task means 1/2 and 1. Of 1/2 each: video a has 1/2 * (1/2) / 2 = 1/8, video b -1/8, c nothing.
    tasks = [part(0.5, ("a", 1), ("b", 0)), part(0.5, ("a", 1), ("c", 1))]
    assert estimate(tasks, 1).mean == 0.75
    assert estimate(tasks, 1).stderr == pytest.approx(math.sqrt(3 / 2 * (2 / 64)))


@given(SCORES)
def test_with_one_score_a_video_it_is_the_ordinary_standard_error(scores):
    mean = sum(scores) / len(scores)
    variance = sum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    found = estimate([part(1.0, *((str(n), s) for n, s in enumerate(scores)))], 1).stderr
    assert found == pytest.approx(math.sqrt(variance / len(scores)), abs=1e-9)


@given(SCORES, st.integers(2, 5))
def test_asking_the_same_again_about_every_video_makes_no_number_surer(scores, times):
    once = part(1.0, *((str(n), score) for n, score in enumerate(scores)))
    again = Part(1.0, list(once.marks) * times)
    surer, sure = estimate([again], 1), estimate([once], 1)
    assert surer.stderr == pytest.approx(sure.stderr, abs=1e-9)


@given(SCORES)
def test_two_halves_of_one_weight_are_as_sure_as_the_whole(scores):
    marks = [(str(n), score) for n, score in enumerate(scores)]
    halves = [part(0.5, *marks), part(0.5, *marks)]
    whole = estimate([part(1.0, *marks)], 1)
    assert estimate(halves, 1).stderr == pytest.approx(whole.stderr, abs=1e-9)


def test_one_video_has_no_known_error():
    assert estimate([part(1.0, ("a", 1), ("a", 0))]).stderr is None
