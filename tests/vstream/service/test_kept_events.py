"""Events are kept beside the streams, also of a time in which the store was away, until they are
forgotten.
"""

import asyncio
import time
from math import inf

import pytest
from processes import until

from memory import LineLog, StoreAwayError, tier_of
from vstream.service import kept_events, stream_lines
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.kept_events import KeptEvents


class Lines(LineLog):
    """In memory; `is_away` is told of every call."""

    def __init__(self):
        self.lines = []
        self.is_away = False
        self.rewrites = 0
        self.is_closed = False

    def _reach(self):
        if self.is_away:
            raise StoreAwayError("away")

    def read(self):
        self._reach()
        return list(self.lines)

    def append(self, lines):
        self._reach()
        self.lines += lines

    def rewrite(self, change):
        self._reach()
        self.rewrites += 1
        changed = map(change, self.lines)
        self.lines = [line for line in changed if line is not None]

    def close(self):
        self.is_closed = True


@pytest.fixture
def lines(monkeypatch):
    monkeypatch.setattr(kept_events, "_RETRY_S", 0.02)
    return Lines()


def opened(lines):
    log = EventLog()
    log.keep(KeptEvents(lines))
    return log


def fire(log, at_s, stream_id="door", **more):
    return log.publish(EventKind.ALERT_FIRED, stream_id, {"at_s": at_s, **more})


def known(log):
    return [event for event in log._ring if not event.is_forgotten]


def test_events_go_on_and_so_do_their_ids(lines):
    log = opened(lines)
    events = [fire(log, 1.0), log.publish(EventKind.STREAM_CREATED, "door", {})]
    log.publish(EventKind.RESPONSE_DONE, None, {}, owner="somebody")
    log.let_go()
    again = opened(lines)
    assert known(again) == events
    assert fire(again, 2.0).id > events[-1].id
    again.let_go()


def test_who_followed_before_they_could_be_kept_hears_of_what_is_new_only(lines):
    log = opened(lines)
    old = fire(log, 1.0)
    log.let_go()
    again = EventLog()
    early = again.follow(None)
    again.keep(KeptEvents(lines))
    new = fire(again, 2.0)
    again.close()

    async def heard(following):
        return [event async for event in following]

    assert asyncio.run(heard(early)) == [new]
    assert asyncio.run(heard(again.follow(old.id))) == [new]
    assert asyncio.run(heard(again.follow(old.id - 1)))[-2:] == [old, new]
    again.let_go()


def test_ids_rise_after_a_clock_that_was_ahead(lines):
    log = EventLog(clock=lambda: time.time() + 3600)
    log.keep(KeptEvents(lines))
    ahead = fire(log, 1.0)
    log.let_go()
    again = opened(lines)
    assert fire(again, 2.0).id > ahead.id
    again.let_go()


@pytest.mark.parametrize("is_away", [False, True])
def test_what_is_forgotten_is_kept_nowhere(lines, is_away):
    """Nor what waits to be written; where the store is away, once it is there again."""
    log = opened(lines)
    fire(log, 1.0)
    said = fire(log, 5.0, sentence="a cat", from_s=0.5)
    fire(log, 1.5, stream_id="yard")
    until(lambda: len(lines.lines) == 3)
    lines.is_away = is_away
    fire(log, 2.0)
    log.forget("door", 0.0, 3.0)
    wanted = [("door", 5.0, None), ("yard", 1.5, None)]
    assert [event.id for event in known(log)][:1] == [said.id]
    last = fire(log, 9.0)
    lines.is_away = False
    until(lambda: lines.lines and f'"id": {last.id}' in lines.lines[-1])
    log.let_go()
    again = opened(lines)
    found = [(one.stream_id, one.data["at_s"], one.data.get("sentence")) for one in known(again)]
    assert found == [*wanted, ("door", 9.0, None)]
    again.let_go()


def test_lines_are_rewritten_only_when_something_leaves_what_is_retained(lines):
    log = opened(lines)
    for at_s in (10.0, 20.0):
        fire(log, at_s)
    until(lambda: len(lines.lines) == 2)
    for to_s in (5.0, 9.0, 10.0, 11.0, 12.0):
        log.forget("door", -inf, to_s)
    assert (lines.rewrites, len(lines.lines)) == (1, 1)
    log.forget("door", -inf, inf)
    assert lines.lines == []
    log.let_go()


def test_a_line_that_is_no_event_is_left_out(lines):
    lines.lines = ['{"id": 1', "[]", '{"id": 2, "kind": "of another version"}']
    log = opened(lines)
    assert known(log) == []
    log.let_go()


def test_lines_that_cannot_be_read_are_let_go(lines):
    lines.is_away = True
    with pytest.raises(StoreAwayError):
        KeptEvents(lines)
    assert lines.is_closed


def test_of_too_many_events_that_wait_the_oldest_are_lost(lines, monkeypatch):
    """Also where they come while the store refuses those before."""
    monkeypatch.setattr(kept_events, "_MOST_WAITING", 3)
    log, add = opened(lines), lines.append
    news = []

    def refuse(batch):
        lines.append = add
        news.extend(fire(log, at_s) for at_s in (2.0, 3.0))
        raise StoreAwayError("away")

    lines.append = refuse
    with log._kept._lock:  # both are in one batch
        first = [fire(log, 0.0), fire(log, 1.0)]
    until(lambda: len(lines.lines) == 3)
    assert lines.lines == [event.line for event in (first[1], *news)]
    log.let_go()


def test_what_others_have_told_leaves_what_is_retained_as_well(valkey_server, monkeypatch):
    monkeypatch.setattr(stream_lines, "_COUNT_S", 0)
    tier = tier_of(valkey_server.url)
    log, other = (opened(tier.lines("events", 16)) for _ in range(2))
    fire(other, 1.0)
    with tier.lines("events", 16) as lines:
        until(lambda: lines.read())
        log.forget("door", -inf, 2.0)
        assert not lines.read()
    log.let_go()
    other.let_go()
