import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memory import locks
from memory.locks import LockOrderError, Rank, ranked_condition, ranked_lock
from vstream.device.work import FairLock


def test_turns_come_in_the_order_of_arrival():
    turn, order, waiting = FairLock(Rank.DEVICE), [], []
    with turn:
        for number in range(5):
            thread = threading.Thread(target=_take, args=(turn, order, number))
            thread.start()
            waiting.append(thread)
            time.sleep(0.02)
        assert order == []
    for thread in waiting:
        thread.join(timeout=5)
    assert order == [0, 1, 2, 3, 4]


def _take(turn, order, number):
    with turn:
        order.append(number)


def test_a_thread_in_a_loop_never_makes_another_wait_twice():
    turn, stop, rounds = FairLock(Rank.DEVICE), threading.Event(), []

    def loop():
        while not stop.is_set():
            with turn:
                rounds.append(None)
                time.sleep(0.005)

    busy = threading.Thread(target=loop)
    busy.start()
    try:
        time.sleep(0.02)
        for _ in range(10):
            before = len(rounds)
            with turn:
                assert len(rounds) - before <= 2
    finally:
        stop.set()
        busy.join(timeout=5)


def test_who_is_interrupted_while_waiting_holds_up_nobody(monkeypatch):
    turn = FairLock(Rank.DEVICE)
    taken = threading.Event()
    release = threading.Event()

    def hold():
        with turn:
            taken.set()
            release.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(5)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Condition, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt), turn:
            pass
    release.set()
    holder.join(timeout=5)
    done = threading.Event()
    after = threading.Thread(target=lambda: _take(turn, [], 0) or done.set(), daemon=True)
    after.start()
    assert done.wait(5), "the abandoned ticket still stands in front"
    after.join(timeout=5)


def test_whoever_has_no_more_patience_holds_up_nobody():
    turn = FairLock(Rank.DEVICE)
    with turn, ThreadPoolExecutor(1) as other:
        assert not other.submit(turn.take, 0.01).result(5)
    assert turn.take(0)
    turn.give()
    with turn:
        pass


MAKERS = [ranked_lock, ranked_condition, FairLock]


@pytest.fixture
def found():
    """What was found against the order; the test wanted it."""
    yield locks.violations
    locks.violations.clear()


@pytest.mark.parametrize("make_outer", MAKERS)
@pytest.mark.parametrize("make_inner", MAKERS)
def test_locks_are_taken_from_the_outermost_inwards(make_outer, make_inner, found):
    outer, inner = make_outer(Rank.STREAMS), make_inner(Rank.DEVICE)
    with outer, inner:
        pass
    with inner, pytest.raises(LockOrderError), outer:
        pass
    with outer, inner:  # whoever was stopped holds nothing
        pass
    assert len(found) == 1


def test_who_breaks_the_order_is_told_both_locks_and_where_they_were_taken(found):
    def take_early():
        with ranked_lock(Rank.STREAMS):
            pass

    def hold_late():
        with ranked_lock(Rank.EVENTS):
            take_early()

    with pytest.raises(LockOrderError) as told:
        hold_late()
    said = str(told.value)
    assert said.index("EVENTS was taken here") < said.index("STREAMS is taken here")
    assert said.count("in hold_late") == 2
    assert said.count("in take_early") == 1
    assert found == [said]


def test_two_locks_of_one_rank_are_not_held_together(found):
    one, other = ranked_lock(Rank.RESPONSE), ranked_lock(Rank.RESPONSE)
    with one, pytest.raises(LockOrderError), other:
        pass
    with one, pytest.raises(LockOrderError), one:  # threading would wait for itself
        pass
    assert len(found) == 2


def test_who_waits_for_a_condition_holds_its_lock_no_more():
    condition, said = ranked_condition(Rank.EVENTS), []

    def say():
        with ranked_lock(Rank.STREAMS), condition:
            said.append(None)
            condition.notify_all()

    with ThreadPoolExecutor(1) as other, condition:
        telling = other.submit(say)
        assert condition.wait_for(lambda: said, timeout=5)
    telling.result(5)
    assert locks.violations == []


def test_other_threads_hold_what_they_hold():
    with ranked_lock(Rank.EVENTS), ThreadPoolExecutor(1) as other:
        assert other.submit(ranked_lock(Rank.STREAMS).acquire).result(5)


def test_without_the_check_locks_are_those_of_threading(monkeypatch):
    monkeypatch.setattr(locks, "_is_checked", False)
    assert type(ranked_lock(Rank.EVENTS)) is type(threading.Lock())
    assert type(ranked_condition(Rank.EVENTS)._lock) is type(threading.RLock())
    with FairLock(Rank.EVENTS), FairLock(Rank.STREAMS):
        pass


def test_every_lock_of_the_product_has_a_rank():
    root = Path(__file__).parents[2]
    made = re.compile(r"\bthreading\.(R?Lock|Condition|(Bounded)?Semaphore)[()]")
    bare = {
        str(path.relative_to(root))
        for room in ("app", "encoders", "memory", "vstream")
        for path in (root / room).rglob("*.py")
        if made.search(path.read_text("utf-8"))
    }
    assert bare == {"memory/locks.py", "vstream/device/work.py"}
    used = "".join(
        path.read_text("utf-8")
        for room in ("app", "memory", "vstream")
        for path in (root / room).rglob("*.py")
    )
    assert [rank.name for rank in Rank if f"Rank.{rank.name})" not in used] == []
