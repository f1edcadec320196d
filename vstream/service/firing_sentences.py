"""FiringSentences: has the model say something about each firing, for events and webhooks.

A firing is an event at once. What the model says about it comes after everybody's questions and is
an event of its own, so that listeners hear at once, and again when there is more. A webhook is one
message with all of it: it waits for the sentence, but not for long, and then goes without.
"""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field

import structlog

from memory.locks import Rank, ranked_lock
from vstream.device.work import Job
from vstream.errors import BusyError
from vstream.question import Saying
from vstream.service.alert_record import FiredAlert
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.session import Session

_log = structlog.get_logger()
PATIENCE_S = 3.0
"""How long a webhook waits for its sentence."""
_GIVE_UP_S = 60.0
"""After this long there will be none."""
_MOST = 32
"""Firings that may wait for their sentences; any more go without."""


@dataclass(eq=False)
class _Waiting:
    fired: FiredAlert
    job: Job[Saying]
    since: float = field(default_factory=time.monotonic)
    is_told: bool = False
    is_forgotten: bool = False

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self.since


class FiringSentences:
    """Belongs to the thread that judges, except `forget`."""

    def __init__(
        self,
        events: EventLog,
        on_ready: Callable[[FiredAlert], None],
        on_said: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        """`on_ready` is called once for each firing: with its sentence, or when that has taken too
        long. `on_said` is called with the stream of each sentence. `wake` is called, in any thread,
        when `go_on` has something to do.
        """
        self._events = events
        self._on_ready = on_ready
        self._on_said = on_said
        self._wake = wake
        self._lock = ranked_lock(Rank.FIRINGS)
        self._waiting: list[_Waiting] = []

    def begin(self, fired: FiredAlert, session: Session) -> None:
        try:
            if len(self._waiting) >= _MOST:
                raise BusyError("too many firings wait for their sentence")
            with self._lock:  # or `forget` might miss it
                one = _Waiting(fired, session.begin_saying(fired.firing.at_s))
                self._waiting.append(one)
            one.job.add_done_callback(lambda done: self._wake())
        except BusyError as error:
            _log.warning("no sentence", alert=fired.alert.id, reason=str(error))
            self._on_ready(fired)

    def go_on(self) -> None:
        """Report what has been said, and the firings that have waited long enough."""
        for one in list(self._waiting):
            if one.job.done():
                self._end(one)
            elif one.waited_s > _GIVE_UP_S:
                one.job.cancel()
            if not one.is_told and (one.job.done() or one.waited_s > PATIENCE_S):
                one.is_told = True
                self._on_ready(one.fired)

    def forget(self, stream_id: str, from_s: float) -> None:
        """Drop what is being said of moments from `from_s` on. From any thread."""
        with self._lock:
            for one in self._waiting:
                if one.fired.past.stream_id == stream_id and one.fired.past.at_s >= from_s:
                    one.is_forgotten = True
                    one.job.cancel()

    def close(self) -> None:
        """Wait no longer: report every firing now."""
        self.go_on()
        for one in self._waiting:
            one.job.cancel()
            if not one.is_told:
                self._on_ready(one.fired)

    def _end(self, one: _Waiting) -> None:
        said, fired = _said(one), one.fired
        with self._lock:
            self._waiting.remove(one)
            if said is not None and not one.is_forgotten:
                fired.past.said = said
                self._on_said(fired.past.stream_id)
                self._events.publish(
                    EventKind.ALERT_DESCRIBED, fired.past.stream_id, fired.document
                )


def _said(one: _Waiting) -> Saying | None:
    """Return None if it failed: the others get theirs."""
    try:
        return one.job.result()
    except CancelledError:
        return None
    except Exception as error:  # noqa: BLE001  as above
        _log.warning("no sentence", alert=one.fired.alert.id, reason=str(error))
        return None
