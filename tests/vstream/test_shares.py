"""Shares: nobody keeps all others out, and nothing is kept from one who is alone."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstream.device.shares import Holder, Shares, has_room
from vstream.errors import BusyError

MASTER = Holder("master", is_limited=False)
KEYS = [Holder(name) for name in ("one", "two", "three", "four", "five", "six")]


def taken_by(holders, most):
    """Who has places after each of them has asked for one in turn."""
    taken = []
    for holder in holders:
        if has_room(holder, taken, most):
            taken.append(holder)
    return taken


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7, 8, 64])
def test_how_many_places_one_alone_may_have(most):
    assert len(taken_by([None] * 100, most)) == most
    assert len(taken_by([MASTER] * 100, most)) == max(1, most - 1)
    assert len(taken_by([KEYS[0]] * 100, most)) == max(1, most // 4)


def test_no_place_is_not_even_for_one_alone():
    for holder in (None, MASTER, KEYS[0]):
        assert not has_room(holder, [], 0)


@given(st.lists(st.sampled_from([MASTER, *KEYS[:3]]), max_size=60), st.integers(2, 20))
def test_whatever_others_hold_who_holds_none_finds_a_place(asked, most):
    taken = taken_by(asked, most)
    holders = set(taken)
    assert len(taken) <= most
    assert all(taken.count(holder) <= max(1, most // 4) for holder in holders - {MASTER})
    if len(taken) == most:  # the last place went to one who held none
        assert taken.count(taken[-1]) == 1
    if len(holders) == 1:
        assert has_room(KEYS[4], taken, most)


def test_a_place_that_is_given_back_is_free_again():
    shares = Shares(4, "things are held")
    with ExitStack() as held:
        for holder in (KEYS[0], KEYS[1], MASTER):
            held.enter_context(shares.held(holder))
        with pytest.raises(BusyError, match="1 things are held with this key, its share of 4"):
            held.enter_context(shares.held(MASTER))
        held.enter_context(shares.held(KEYS[2]))
        with pytest.raises(BusyError, match="4 things are held, as many as may"):
            held.enter_context(shares.held(KEYS[3]))
    with shares.held(KEYS[0]), pytest.raises(BusyError), shares.held(KEYS[0]):
        pass
