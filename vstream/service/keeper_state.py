"""KeeperState: the states of a StreamKeeper, and how events change them, as a table."""

from enum import StrEnum


class KeeperState(StrEnum):
    """Where a keeper is between `start` and `close`."""

    NEW = "new"
    DUE = "due"
    """To be opened as soon as the thread has closed what was open before."""
    OPENING = "opening"
    LIVE = "live"
    RETRYING = "retrying"
    """The last attempt failed; the next one comes after a while."""
    PAUSED = "paused"
    ENDED = "ended"
    FAILED = "failed"
    """Permanently: trying again would not help."""
    CLOSED = "closed"


class KeeperEvent(StrEnum):
    """What users call, and what an attempt to watch comes to."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"
    CLOSE = "close"
    BEGIN = "begin"
    """The thread starts an attempt that is due, or to be retried."""
    OPENED = "opened"
    END = "end"
    """The source has ended."""
    FAIL = "fail"
    GIVE_UP = "give up"
    """Like FAIL, but permanently."""


_OPEN = frozenset(set(KeeperState) - {KeeperState.CLOSED})
ATTEMPT = frozenset({KeeperState.OPENING, KeeperState.LIVE})
"""An attempt to watch is under way."""
TRANSITIONS: dict[KeeperEvent, tuple[frozenset[KeeperState], KeeperState]] = {
    KeeperEvent.START: (frozenset({KeeperState.NEW}), KeeperState.DUE),
    KeeperEvent.PAUSE: (_OPEN, KeeperState.PAUSED),
    KeeperEvent.RESUME: (frozenset({KeeperState.PAUSED}), KeeperState.DUE),
    KeeperEvent.RESTART: (_OPEN, KeeperState.DUE),
    KeeperEvent.CLOSE: (frozenset(KeeperState), KeeperState.CLOSED),
    KeeperEvent.BEGIN: (frozenset({KeeperState.DUE, KeeperState.RETRYING}), KeeperState.OPENING),
    KeeperEvent.OPENED: (frozenset({KeeperState.OPENING}), KeeperState.LIVE),
    KeeperEvent.END: (ATTEMPT, KeeperState.ENDED),
    KeeperEvent.FAIL: (ATTEMPT, KeeperState.RETRYING),
    KeeperEvent.GIVE_UP: (ATTEMPT, KeeperState.FAILED),
}
"""For each event, the states in which it counts, and the state after it."""


def after(state: KeeperState, event: KeeperEvent) -> KeeperState:
    """Return the state after `event`: the same if it does not count. So the outcome of an attempt
    is ignored once it was paused, restarted or closed: the last word counts.
    """
    counts_in, found = TRANSITIONS[event]
    return found if state in counts_in else state
