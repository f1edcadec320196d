"""Which of the blocks most like a question it reads, moment by moment."""

from hypothesis import given
from hypothesis import strategies as st

from memory.moment_choice import NEARLY, choose_moments

ALIKE = 0.9


@st.composite
def candidates(draw):
    ids = sorted(draw(st.sets(st.integers(0, 60), max_size=30)))
    scores = [draw(st.floats(-1, 1, width=16)) for _ in ids]
    like_next = [draw(st.sampled_from([0.0, 0.95])) for _ in ids[1:]]
    return ids, scores, like_next


@given(candidates(), st.integers(1, 40))
def test_so_many_are_read_in_stream_order_and_the_best_is_among_them(given_, num_blocks):
    ids, scores, like_next = given_
    chosen = choose_moments(ids, scores, like_next, ALIKE, num_blocks)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(ids)
    assert len(chosen) == min(num_blocks, len(ids))
    best = max(zip(scores, ids, strict=True), default=None)
    if best and num_blocks >= 7 and best[0] > 0:
        assert max(scores[ids.index(one)] for one in chosen) == best[0]


def test_of_a_moment_the_best_the_first_and_the_last_are_read():
    ids = [*range(10, 20), *range(40, 50)]
    scores = [0.5] * 10 + [0.6] * 10
    scores[4] = scores[14] = 0.9
    alike = [1.0] * 9 + [0.0] + [1.0] * 9
    assert choose_moments(ids, scores, alike, ALIKE, 6) == [10, 14, 19, 40, 44, 49]
    assert choose_moments(ids, scores, alike, ALIKE, 3) == [10, 14, 19], "the first of equals"


def test_the_first_and_the_last_moment_that_are_nearly_as_like_come_before_all_others():
    ids = [0, 10, 20, 30, 40, 50]
    scores = [0.1, NEARLY * 0.9 + 0.01, 0.9, 0.8, NEARLY * 0.9 + 0.02, 0.1]
    apart = [0.0] * 5
    assert choose_moments(ids, scores, apart, ALIKE, 2) == [10, 40]
    assert choose_moments(ids, scores, apart, ALIKE, 3) == [10, 20, 40]


def test_blocks_that_are_far_apart_are_two_moments_however_alike():
    ids, scores = [0, 1, 2, 30, 31, 32], [0.9, 0.8, 0.9, 0.9, 0.8, 0.9]
    chosen = choose_moments(ids, scores, [1.0] * 5, ALIKE, 4)
    assert chosen == [0, 2, 30, 32]
