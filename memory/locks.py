"""Locks: which of them a thread may hold together, in one table, which tests check.

Every lock has a rank. A thread that holds one takes only locks whose rank comes later, so no two
threads can wait for each other. In production a ranked lock is threading's own. Once `check_order`
has been called, as tests do, whoever takes one too early is told which it holds, and since where.
"""

import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto
from itertools import islice
from types import TracebackType

_MOST_CALLS = 12
"""Of a stack that is told."""


class Rank(IntEnum):
    """All locks, outermost first: beside one, a thread may take those below it."""

    # Whole commands and visits: held while others are asked
    TERMINAL = auto()
    PAGE_CAMERA = auto()
    PAGE_TIMELINE = auto()
    SEARCH = auto()
    # What a service has
    STREAMS = auto()
    READERS = auto()
    KEEPER = auto()
    WATCHES = auto()
    RESPONSES = auto()
    RESPONSE = auto()
    WEBHOOKS = auto()
    # What a source has
    FILE = auto()
    PUSHED_FRAMES = auto()
    # A stream's writer, then the device and what runs on it
    PUSHING = auto()
    DEVICE = auto()
    SCHEDULER = auto()
    RECORDING = auto()
    SCHEMAS = auto()
    VOCABULARIES = auto()
    # A stream's memory: nobody waits for a store with the device in hand
    REDIS_WRITING = auto()
    REDIS_WAITING = auto()
    ROW_STAGE = auto()
    # Held for a few lines, in which no other is taken
    FRAMES = auto()
    FFMPEG_CLOCK = auto()
    ANSWERING = auto()
    ASKER = auto()
    SHARES = auto()
    KNOWN_SCHEMAS = auto()
    EVENTS = auto()
    PHASE = auto()
    RATE_LIMIT = auto()
    VISITORS = auto()


class LockOrderError(RuntimeError):
    """A thread took a lock that it may not take beside one that it holds."""


violations: list[str] = []
"""What was found since `check_order`: the error itself may be caught by somebody."""
_is_checked = False
_mine = threading.local()


def check_order() -> None:
    """Check all locks that are made from now on. Call it before anything else is imported."""
    global _is_checked
    _is_checked = True


def ranked_lock(rank: Rank) -> threading.Lock:
    return _RankedLock(rank) if _is_checked else threading.Lock()  # type: ignore[return-value]


def ranked_condition(rank: Rank) -> threading.Condition:
    if _is_checked:
        return threading.Condition(_RankedLock(rank))  # type: ignore[arg-type]
    return threading.Condition()


class FairLock:
    """A lock that threads get in the order in which they ask for it.

    threading.Lock makes no such promise: a thread that releases and takes it in a loop, as the
    ingestion worker does, can keep all others waiting.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self._is_checked = _is_checked
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def take(self, patience_s: float | None = None) -> bool:
        """Wait for it; False if it did not come in so many seconds. Who has it must `give` it."""
        if self._is_checked:
            _require_order(self.rank)
        ticket, is_taken = object(), False
        with self._changed:
            self._waiting.append(ticket)
            try:
                is_taken = self._changed.wait_for(lambda: self._waiting[0] is ticket, patience_s)
            finally:
                if not is_taken:  # also at Ctrl-C: nobody may wait for this ticket
                    self._waiting.remove(ticket)
                    self._changed.notify_all()
        if self._is_checked and is_taken:
            _note_taken(self)
        return is_taken

    def give(self) -> None:
        """Let the next one have it."""
        if self._is_checked:
            _note_given(self)
        with self._changed:
            self._waiting.popleft()
            self._changed.notify_all()

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give()


class _RankedLock:
    """threading.Lock, checked."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:  # who does not wait keeps nobody waiting
            _require_order(self.rank)
        is_taken = self._lock.acquire(blocking, timeout)
        if is_taken:
            _note_taken(self)
        return is_taken

    def release(self) -> None:
        _note_given(self)
        self._lock.release()

    def _is_owned(self) -> bool:
        """Asked by threading.Condition, which would try to take it otherwise."""
        return any(held.lock is self for held in _held())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


@dataclass(frozen=True, eq=False)
class _Held:
    lock: FairLock | _RankedLock
    since: Callable[[], str]


def _held() -> list[_Held]:
    """The calling thread's, in the order in which it took them."""
    if not hasattr(_mine, "held"):
        _mine.held = []
    found: list[_Held] = _mine.held
    return found


def _require_order(rank: Rank) -> None:
    for held in _held():
        if held.lock.rank >= rank:
            told = (
                f"{rank.name} is taken by a thread that holds {held.lock.rank.name}, which comes "
                f"after it\n{held.lock.rank.name} was taken here:\n{held.since()}"
                f"{rank.name} is taken here:\n{_calls()()}"
            )
            violations.append(told)
            raise LockOrderError(told)


def _note_taken(lock: FairLock | _RankedLock) -> None:
    _held().append(_Held(lock, _calls()))


def _note_given(lock: FairLock | _RankedLock) -> None:
    _mine.held = [held for held in _held() if held.lock is not lock]


def _calls() -> Callable[[], str]:
    """Where the thread is now; the text is made when it is asked for."""
    frames = islice(traceback.walk_stack(None), _MOST_CALLS)
    found = traceback.StackSummary.extract(frames, lookup_lines=False)
    found.reverse()
    return lambda: "".join(found.format())
