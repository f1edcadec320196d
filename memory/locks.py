"""Locks: one table of the order in which a thread may take them, checked in tests.

Every lock has a rank. A thread that holds one takes only locks of later rank, so no two threads can
wait for each other. In production a ranked lock is a plain threading lock. After `check_order`,
which tests call, a thread that takes a lock too early gets an error saying which lock it holds and
where it took that.
"""

import sys
import threading
import traceback
from enum import IntEnum, auto
from types import CodeType

_MOST_CALLS = 12
"""Stack frames shown in an error."""
_Calls = list[tuple[CodeType, int]]


class Rank(IntEnum):
    """All locks, outermost first: a thread that holds one may take those below it."""

    # Whole commands and visits: held while other parts are called
    TERMINAL = auto()
    PAGE_CAMERA = auto()
    PAGE_TIMELINE = auto()
    SEARCH = auto()
    # A service's
    STREAMS = auto()
    READERS = auto()
    KEEPER = auto()
    ALERT_NOTES = auto()
    ALERTS = auto()
    FIRINGS = auto()
    RESPONSES = auto()
    RESPONSE = auto()
    WEBHOOKS = auto()
    KEPT_EVENTS = auto()
    ANSWER_LOG = auto()
    LINES = auto()
    # A stream's writer, then the device and what runs on it
    PUSHING = auto()
    DEVICE = auto()
    SCHEDULER = auto()
    RECORDING = auto()
    SCHEMAS = auto()
    VOCABULARIES = auto()
    SENTENCES = auto()
    # A stream's memory: nobody waits for a store with the device in hand
    REDIS_RENEWED = auto()
    REDIS_WRITING = auto()
    REDIS_WAITING = auto()
    MANIFEST = auto()
    ROW_STAGE = auto()
    REDIS_WORKERS = auto()
    # A source's
    FILE = auto()
    PUSHED_FRAMES = auto()
    # Held for a few lines that take no other
    FRAMES = auto()
    FFMPEG_CLOCK = auto()
    DECODERS = auto()
    ANSWERING = auto()
    ASKER = auto()
    SHARES = auto()
    KNOWN_SCHEMAS = auto()
    EVENTS = auto()
    PHASE = auto()
    RATE_LIMIT = auto()
    VISITORS = auto()


class LockOrderError(RuntimeError):
    """A thread took a lock that must be taken before one it already holds."""


violations: list[str] = []
"""What was found since `check_order`, in case someone catches the error itself."""
_is_checked = False
_mine = threading.local()


def check_order() -> None:
    """Check all locks made from now on. Call it before importing anything else."""
    global _is_checked
    _is_checked = True


def ranked_lock(rank: Rank) -> threading.Lock:
    return _RankedLock(rank) if _is_checked else threading.Lock()  # type: ignore[return-value]


def ranked_condition(rank: Rank) -> threading.Condition:
    if _is_checked:
        return threading.Condition(_RankedLock(rank))  # type: ignore[arg-type]
    return threading.Condition()


class _RankedLock:
    """A threading.Lock whose order is checked."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:  # a thread that does not wait cannot deadlock
            _require_order(self.rank)
        is_taken = self._lock.acquire(blocking, timeout)
        if is_taken:
            _held().append((self, _calls()))
        return is_taken

    def release(self) -> None:
        _mine.held = [held for held in _held() if held[0] is not self]
        self._lock.release()

    def _is_owned(self) -> bool:
        """Return whether this thread holds it; else threading.Condition would try to take it."""
        return any(lock is self for lock, _ in _held())

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *raised: object) -> None:
        self.release()


def _held() -> list[tuple[_RankedLock, _Calls]]:
    """Return the calling thread's locks in the order taken, and where it took them."""
    if not hasattr(_mine, "held"):
        _mine.held = []
    return _mine.held  # type: ignore[no-any-return]


def _require_order(rank: Rank) -> None:
    for lock, since in _held():
        if lock.rank >= rank:
            text = (
                f"{rank.name} is taken by a thread that holds {lock.rank.name}, which comes "
                f"after it\n{lock.rank.name} was taken here:\n{_told(since)}"
                f"{rank.name} is taken here:\n{_told(_calls())}"
            )
            violations.append(text)
            raise LockOrderError(text)


def _calls() -> _Calls:
    """Return where the thread is now, innermost first; cheap, because every acquire calls it."""
    calls: _Calls = []
    frame = sys._getframe(1)
    while frame is not None and len(calls) < _MOST_CALLS:
        calls.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]
    return calls


def _told(calls: _Calls) -> str:
    lines = [(code.co_filename, line, code.co_name, None) for code, line in reversed(calls)]
    return "".join(traceback.StackSummary.from_list(lines).format())
