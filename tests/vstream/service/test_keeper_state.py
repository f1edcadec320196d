"""The states of a keeper: what counts when, and that the last word does."""

from itertools import product

import pytest

from vstream.service.keeper_state import ATTEMPT, KeeperEvent, KeeperState, after

CALLS = {KeeperEvent.PAUSE, KeeperEvent.RESUME, KeeperEvent.RESTART, KeeperEvent.CLOSE}
OUTCOMES = {KeeperEvent.OPENED, KeeperEvent.END, KeeperEvent.FAIL, KeeperEvent.GIVE_UP}
TABLE = """
          start pause  resume  restart close  begin   opened   end    fail     give-up
new       due   paused .       due     closed .       .        .      .        .
due       .     paused .       due     closed opening .        .      .        .
opening   .     paused .       due     closed .       live     ended  retrying failed
live      .     paused .       due     closed .       .        ended  retrying failed
retrying  .     paused .       due     closed opening .        .      .        .
paused    .     paused due     due     closed .       .        .      .        .
ended     .     paused .       due     closed .       .        .      .        .
failed    .     paused .       due     closed .       .        .      .        .
closed    .     .      .       .       .      .       .        .      .        .
"""


def written():
    """The table above: state after state and event."""
    heading, *rows = TABLE.strip("\n").splitlines()
    events = [KeeperEvent(word.replace("-", " ")) for word in heading.split()]
    for row in rows:
        name, *cells = row.split()
        for event, cell in zip(events, cells, strict=True):
            yield KeeperState(name), event, KeeperState(name if cell == "." else cell)


@pytest.mark.parametrize(("state", "event", "wanted"), list(written()))
def test_every_state_goes_where_the_table_says(state, event, wanted):
    assert after(state, event) is wanted


def test_the_table_has_every_state_and_event():
    pairs = [(state, event) for state, event, _ in written()]
    assert sorted(pairs) == sorted(product(KeeperState, KeeperEvent))


def reached(state, events):
    """All states to which any of `events` lead, in whatever order."""
    found = {state}
    while True:
        more = {after(one, event) for one in found for event in events} - found
        if not more:
            return found
        found |= more


def test_what_an_attempt_comes_to_does_not_undo_what_was_called():
    """A worker that was stopped ends after the call, and tells of its end then."""
    for state in KeeperState:
        for call in CALLS - {KeeperEvent.RESUME}:
            called = after(state, call)
            assert reached(called, OUTCOMES) == {called}
            assert called not in ATTEMPT


def test_one_that_is_not_closed_can_always_be_made_to_watch_and_a_closed_one_never():
    for state in set(KeeperState) - {KeeperState.CLOSED}:
        due = after(state, KeeperEvent.RESTART)
        opening = after(due, KeeperEvent.BEGIN)
        assert after(opening, KeeperEvent.OPENED) is KeeperState.LIVE
    assert reached(KeeperState.CLOSED, KeeperEvent) == {KeeperState.CLOSED}


def test_only_who_waits_for_its_next_attempt_begins_one():
    begins = {one for one in KeeperState if after(one, KeeperEvent.BEGIN) is not one}
    assert begins == {KeeperState.DUE, KeeperState.RETRYING}
    for outcome in OUTCOMES - {KeeperEvent.OPENED}:
        for state in ATTEMPT:
            again = after(state, outcome) in begins
            assert again == (outcome is KeeperEvent.FAIL)
