"""Agreement of two judges, against the textbook's formula."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.question_sets.judging import agreement

LABELS = st.lists(st.sampled_from(["yes", "no", "neither"]), min_size=1, max_size=30)


def test_cohens_example_by_hand():
    # 20 and 15 of 50 agree; by chance 25/50 * 30/50 + 25/50 * 20/50 = 1/2: (0.7 - 0.5) / 0.5.
    first = ["yes"] * 20 + ["yes"] * 5 + ["no"] * 10 + ["no"] * 15
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement(first, second) == {
        "num_answers": 50,
        "agreed": 0.7,
        "kappa": pytest.approx(0.4),
    }


def test_judges_that_only_ever_say_one_thing_agree_without_a_kappa():
    assert agreement(["yes"] * 3, ["yes"] * 3) == {"num_answers": 3, "agreed": 1.0, "kappa": None}
    assert agreement(["yes", "no"], ["yes", "yes"])["kappa"] == 0


@given(LABELS)
def test_who_agrees_with_himself_has_a_kappa_of_one(labels):
    found = agreement(labels, labels)
    assert found["agreed"] == 1
    assert found["kappa"] is None if len(set(labels)) == 1 else found["kappa"] == pytest.approx(1)


@given(LABELS, st.randoms())
def test_it_does_not_matter_who_is_first(labels, chance):
    others = labels[:]
    chance.shuffle(others)
    assert agreement(labels, others) == agreement(others, labels)
