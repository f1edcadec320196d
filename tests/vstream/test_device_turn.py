import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vstream.device.turn import DeviceTurn


def test_turns_come_in_the_order_of_arrival():
    turn, order, waiting = DeviceTurn(), [], []
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
    turn, stop, rounds = DeviceTurn(), threading.Event(), []

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
    turn = DeviceTurn()
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
    turn = DeviceTurn()
    with turn, ThreadPoolExecutor(1) as other:
        assert not other.submit(turn.take, 0.01).result(5)
    assert turn.take(0)
    turn.give()
    with turn:
        pass
