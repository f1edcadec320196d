from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import write_script
from eval.stream_world.standing import draw_standing


@given(st.integers(0, 10_000), st.sampled_from([None, 60]))
@settings(max_examples=15)
def test_onsets_are_the_seconds_at_which_the_object_comes_into_view(
    seed: int, watched_s: int | None
) -> None:
    script = write_script(seed, 200)
    for question in draw_standing(script, 8, Random(seed), watched_s=watched_s):
        end_s = 199 if watched_s is None else question.asked_s + watched_s
        assert end_s <= 199
        expected, was_there = [], False
        for second in range(question.asked_s, end_s + 1):
            is_there = script.moments[second].find(question.name) is not None
            expected += [second] if is_there and not was_there else []
            was_there = is_there
        assert question.onsets_s == tuple(expected)
        assert question.name in question.text


@pytest.mark.parametrize(("length_s", "watched_s"), [(600, 300), (3600, None)])
def test_about_a_third_never_come_and_the_others_come_a_few_times(
    length_s: int, watched_s: int | None
) -> None:
    drawn = [
        len(question.onsets_s)
        for seed in range(4)
        for question in draw_standing(
            write_script(seed, length_s), 40, Random(seed), watched_s=watched_s
        )
    ]
    assert 0.2 < drawn.count(0) / len(drawn) < 0.45
    assert sum(num > 6 for num in drawn) < 0.05 * len(drawn)


def test_the_same_seed_draws_the_same_in_the_order_of_asking() -> None:
    script = write_script(5, 300)
    first = draw_standing(script, 10, Random(2), "held_out")
    assert first == draw_standing(script, 10, Random(2), "held_out")
    assert first == sorted(first, key=lambda question: question.asked_s)
    assert [q.text for q in first] != [q.text for q in draw_standing(script, 10, Random(2))]
