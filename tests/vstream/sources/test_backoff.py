"""Backoff: waits that grow to a cap, never in step."""

from hypothesis import given
from hypothesis import strategies as st

from vstream.sources.backoff import Backoff


@given(st.floats(0.01, 10), st.floats(0.01, 100), st.integers(0, 40))
def test_each_wait_lies_between_half_and_all_of_the_capped_double(min_s, max_s, attempt):
    backoff = Backoff(min_s, max_s)
    waits_s = [backoff.next_s() for _ in range(attempt + 1)]
    longest_s = min(max(min_s, max_s), min_s * 2**attempt)
    assert longest_s / 2 <= waits_s[-1] <= longest_s


def test_a_reset_makes_the_next_wait_short_again():
    backoff = Backoff(1, 30)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1


def test_two_cameras_do_not_come_back_in_step():
    assert len({Backoff(1, 30).next_s() for _ in range(20)}) > 1
