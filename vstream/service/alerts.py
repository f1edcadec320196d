"""Alerts: standing questions on streams in, firings out, as events and to webhooks.

One thread judges what is due on all streams, in shared passes (`begin_judging`), and looks only at
the newest frame of each stream: where judging cannot keep up, ticks are skipped and counted, and no
stream waits for it. A moment is judged by what had been seen by then, so being late changes nothing
but the delay.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf

import structlog

from memory import KVMemoryError
from memory.locks import Rank, ranked_lock
from vstream.alert import Alert
from vstream.errors import BusyError, UnknownAlertError, VStreamError
from vstream.ingest import SeenFrame
from vstream.question import Judgement
from vstream.service.alert_notes import AlertNotes
from vstream.service.alert_record import AlertRecord, FiredAlert
from vstream.service.alert_spec import AlertSpec, DeclaredAlert
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.firing_sentences import FiringSentences
from vstream.service.just_forgotten import JustForgotten
from vstream.service.past_firing import PastFiring
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.streams import Streams
from vstream.speaking import speaking_policy
from vstream.speaking.policy import SpeakingPolicy

_log = structlog.get_logger()
_REST_S = 0.05
_FALLS_BACK_S = 60.0
_RETAIN_S = 5.0
"""So often what streams retain no more is forgotten here as well."""


class Alerts:
    """Any number at once. May be used from any thread."""

    def __init__(
        self,
        streams: Streams,
        events: EventLog,
        most: int,
        on_fired: Callable[[FiredAlert], None] = lambda fired: None,
        on_told: Callable[[FiredAlert], None] = lambda fired: None,
        on_forgotten: Callable[[str, float, float], None] | None = None,
    ) -> None:
        """`on_fired` is called at once, `on_told` with what the model says of it, see
        FiringSentences: in the judging thread, so they must not block. `on_forgotten` is told of
        every stretch of a stream that is forgotten, also by its retention.
        """
        self._streams = streams
        self._events = events
        self._most = most
        self._on_fired = on_fired
        self._on_forgotten = on_forgotten
        self._alerts: dict[str, AlertRecord] = {}
        self._lock = ranked_lock(Rank.ALERTS)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._newest: dict[StreamKeeper, tuple[SeenFrame, float]] = {}
        """And when it came, in seconds since the epoch."""
        self._released: set[StreamKeeper] = set()
        """Streams that go on in another process, until they are not watched here any more."""
        self._forgotten = JustForgotten()
        self._notes = AlertNotes(streams, self.all)
        self._sentences = FiringSentences(events, on_told, self._notes.write_soon, self._wake.set)
        self._retained_at = 0.0
        self._thread = threading.Thread(target=self._judge_on, name="alerts", daemon=True)
        self._thread.start()

    def saw(self, keeper: StreamKeeper, frame: SeenFrame) -> None:
        """A stream's newest frame has been encoded."""
        self._newest[keeper] = frame, time.time()
        self._wake.set()

    def add(self, spec: AlertSpec, owner: str = "") -> AlertRecord:
        """Raises UnknownStreamError for one that is not watched here, BusyError, SettingsError."""
        keepers = [self._streams.get(stream_id) for stream_id in spec.stream_ids]
        made = self._made(spec, owner, f"alert_{secrets.token_hex(12)}", keepers)
        with self._lock:
            self._enter(made)
        self._wake.set()
        for stream_id in made.noted_on:
            self._notes.write(stream_id)
        return made

    def open_known(self, declared: Sequence[DeclaredAlert] = ()) -> None:
        """Go on with the alerts that the streams' notes hold, and with those that are `declared`,
        on those of their streams that could be opened.
        """
        known: dict[str, AlertRecord] = {}
        for keeper in self._streams.all():
            for made in self._noted(keeper):
                known.setdefault(made.id, made)
        for one in declared:
            with _told_of_errors(", ".join(one.stream_ids)):
                known[one.id] = self._made(one.spec, "", one.id, self._here(one.spec))
                known[one.id].is_declared = True
        for made in known.values():
            _take_noted(made)
        with self._lock:  # all at once: a note is of all that there are
            for made in known.values():
                with _told_of_errors(made.noted_beside):
                    self._enter(made)
        for keeper in self._streams.all():
            stream_id, note = keeper.spec.id, keeper.note
            told = {one.id for one in self.all() if one.fired_on[stream_id]}
            has_more = note.get("firings", {}).keys() - told  # nobody could forget those
            on_it = {one.id for one in self.all() if one.is_noted_beside(stream_id)}
            if has_more or on_it - {kept.get("id") for kept in note.get("alerts", [])}:
                self._notes.write_soon(stream_id)
        self._wake.set()

    def adopt(self, keeper: StreamKeeper) -> None:
        """Go on with the alerts on a stream that another process has left."""
        for made in self._noted(keeper):
            _take_noted(made)
            with _told_of_errors(keeper.spec.id), self._lock:
                if made.id not in self._alerts:
                    self._enter(made)
        for record in self.all():
            if keeper.spec.id in record.spec.stream_ids and keeper not in record.on_streams:
                alert = _alert(record.spec, keeper)
                with self._lock:
                    record.on_streams = {**record.on_streams, keeper: alert}
                    _take_noted(record)
        self._wake.set()

    def release(self, keeper: StreamKeeper) -> None:
        """Judge no more on a stream that another process will go on with, once it is not watched
        here: no alert ends by that.
        """
        self._released.add(keeper)
        self._notes.write(keeper.spec.id)
        self._wake.set()

    def get(self, alert_id: str) -> AlertRecord:
        """Raises UnknownAlertError."""
        found = self._alerts.get(alert_id)
        if found is None:
            raise UnknownAlertError(f"there is no alert {alert_id}")
        return found

    def all(self) -> list[AlertRecord]:
        """In the order in which they were set."""
        with self._lock:
            return list(self._alerts.values())

    def change(self, alert_id: str, spec: AlertSpec) -> AlertRecord:
        """Want something else of an alert. What has come of it stays, unless its condition is
        another: then it begins again. A firing of before that is still told as what it was.

        Raises UnknownAlertError, UnknownStreamError for a stream that it was not on and that is not
        watched here, SettingsError; nothing has changed then.
        """
        record = self.get(alert_id)
        for stream_id in set(spec.stream_ids) - set(record.spec.stream_ids):
            self._streams.get(stream_id)
        keepers = self._here(spec)
        rules = {keeper: _rule(spec, keeper) for keeper in keepers}
        was_on = record.noted_on
        with self._lock:
            record.take(spec, rules)
        for stream_id in was_on | record.noted_on:
            self._notes.write(stream_id)
        self._wake.set()
        return record

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Firings at the moments of [from_s, to_s], and what was said of them, are forgotten, in
        the events as well.
        """
        with self._lock:
            self._forgotten.add(stream_id, from_s, to_s)
        self._sentences.forget(stream_id, from_s)
        self._forget_said(stream_id, from_s, to_s)

    def see(self, is_meant: Callable[[PastFiring], bool]) -> int:
        """Mark firings as seen, for all who may see them; how many were not."""
        met = [
            one
            for record in self.all()
            for one in record.firings.copy()
            if not one.is_seen and is_meant(one)
        ]
        for one in met:
            one.is_seen = True
            self._notes.write_soon(one.stream_id)
        self._wake.set()
        return len(met)

    def remove(self, alert_id: str, reason: str = "deleted") -> AlertRecord:
        """Raises UnknownAlertError."""
        with self._lock:
            found = self._alerts.pop(alert_id, None)
        if found is None:
            raise UnknownAlertError(f"there is no alert {alert_id}")
        for stream_id in found.noted_on:
            self._notes.write(stream_id)
        self._events.publish(
            EventKind.ALERT_ENDED,
            found.spec.stream_ids[0] if len(found.spec.stream_ids) == 1 else None,
            {**found.ids, "reason": reason, "fired": found.fired},
        )
        return found

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._sentences.close()
        self._notes.close()

    def _here(self, spec: AlertSpec) -> list[StreamKeeper]:
        """Those of the streams that it names that are watched here, in its order."""
        here = {keeper.spec.id: keeper for keeper in self._streams.all()}
        return [here[stream_id] for stream_id in spec.stream_ids if stream_id in here]

    def _noted(self, keeper: StreamKeeper) -> Iterator[AlertRecord]:
        for kept in keeper.note.get("alerts", []):
            with _told_of_errors(keeper.spec.id):
                spec = AlertSpec.model_validate(kept["spec"])
                made = self._made(spec, kept["owner"], kept["id"], self._here(spec))
                made.created_at = kept.get("created_at", made.created_at)
                yield made

    def _made(
        self, spec: AlertSpec, owner: str, alert_id: str, keepers: Sequence[StreamKeeper]
    ) -> AlertRecord:
        alerts = {keeper: _alert(spec, keeper) for keeper in keepers}
        return AlertRecord(alert_id, spec, owner, time.time(), on_streams=alerts)

    def _enter(self, made: AlertRecord) -> None:
        """With the lock held. Raises BusyError."""
        if len(self._alerts) >= self._most:
            raise BusyError(f"{self._most} alerts are set, as many as may be: delete one")
        self._alerts[made.id] = made

    def _judge_on(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            try:
                self._end_those_over()
                self._judge_due()
                self._sentences.go_on()
                self._forget_not_retained()
                self._notes.go_on()
            except Exception:  # noqa: BLE001  the next tick is another try
                _log.exception("judging failed")
            self._stop.wait(_REST_S)

    def _end_those_over(self) -> None:
        now, records, watched = time.time(), self.all(), set(self._streams.all())
        released = self._released - watched
        for keeper in set(self._newest) - watched:
            del self._newest[keeper]
        for record in records:
            over = None
            with self._lock:
                gone = set(record.on_streams) - watched
                kept = {one: alert for one, alert in record.on_streams.items() if one in watched}
                record.on_streams = kept
                if gone and not kept and gone <= released and not record.is_declared:
                    self._alerts.pop(record.id, None)
                    continue
            if gone - released:
                over = None if kept else "stream deleted"
            if record.spec.until is not None and now >= record.spec.until:
                over = "until"
            if over is not None:
                with suppress(UnknownAlertError):  # deleted just now
                    self.remove(record.id, over)
        self._released -= released

    def _forget_not_retained(self) -> None:
        if time.monotonic() < self._retained_at + _RETAIN_S:
            return
        self._retained_at = time.monotonic()
        for keeper in self._streams.all():
            memory = keeper.session.memory
            if memory.retain_s is not None:
                self._forget_said(keeper.spec.id, -inf, memory.newest_s - memory.retain_s)

    def _forget_said(self, stream_id: str, from_s: float, to_s: float) -> None:
        with self._lock:
            forgotten = [one.forget(stream_id, from_s, to_s) for one in self._alerts.values()]
        if any(forgotten):
            self._notes.write_soon(stream_id)
        self._events.forget(stream_id, from_s, to_s)
        if self._on_forgotten is not None:
            self._on_forgotten(stream_id, from_s, to_s)

    def _judge_due(self) -> None:
        begun = []
        for record in self.all():
            for keeper, alert in record.on_streams.items():
                frame, came_at = self._newest.get(keeper, (None, 0.0))
                if frame is not None and _begins_anew(alert, keeper, frame.stream_s):
                    alert.begin_anew(_rule(record.spec, keeper))
                if frame is None or not alert.is_due(frame.stream_s):
                    continue
                alert.session = keeper.session
                if (job := alert.begin(frame.stream_s)) is not None:
                    begun.append((record, keeper, alert, frame.captured_at, came_at, job))
        for record, keeper, alert, captured_at, came_at, job in begun:
            try:
                judgement = job.result()
            except (VStreamError, KVMemoryError) as error:
                record.problem = str(error)
                continue
            except Exception as error:  # noqa: BLE001  the other alerts are told theirs
                _log.exception("judging failed", alert=record.id, stream=keeper.spec.id)
                record.problem = f"judging failed: {type(error).__name__}"
                continue
            with self._lock:
                if record.on_streams.get(keeper) is alert:  # else it was changed meanwhile
                    self._take(record, keeper, judgement, captured_at, came_at)

    def _take(
        self,
        record: AlertRecord,
        keeper: StreamKeeper,
        judgement: Judgement,
        at: float,
        came_at: float,
    ) -> None:
        """A judgement of what was captured `at` and `came_at`. With the lock held."""
        stream_id = keeper.spec.id
        record.problem = judgement.strange
        record.last_probability[stream_id] = judgement.probability
        firing = record.on_streams[keeper].feed(judgement)
        if firing is None:
            return
        for one, from_s, to_s in self._forgotten.since(came_at):
            if one == stream_id and from_s <= firing.at_s <= to_s:
                return
        told_id = self._events.new_id()
        past = PastFiring(told_id, stream_id, at, firing.at_s, firing.probability, time.time())
        fired = FiredAlert(record, firing, past)
        record.fired_on[stream_id] += 1
        record.firings.appendleft(past)
        self._notes.write_soon(stream_id)
        self._events.publish(EventKind.ALERT_FIRED, past.stream_id, fired.document)
        self._on_fired(fired)
        self._sentences.begin(fired, keeper.session)


@contextmanager
def _told_of_errors(stream_id: str) -> Iterator[None]:
    """An alert that cannot be set keeps no other from it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, VStreamError) as error:
        _log.error("alert not set", stream=stream_id, reason=str(error))


def _take_noted(record: AlertRecord) -> None:
    """What the notes of its streams say of its firings there, as far as it does not know them."""
    for keeper in record.on_streams:
        noted = keeper.note.get("firings", {}).get(record.id)
        if noted is not None and not record.fired_on[keeper.spec.id]:
            with _told_of_errors(keeper.spec.id):
                record.take_noted(keeper.spec.id, noted)


def _alert(spec: AlertSpec, keeper: StreamKeeper) -> Alert:
    return Alert(keeper.session, spec.condition, _rule(spec, keeper), spec.every_s)


def _rule(spec: AlertSpec, keeper: StreamKeeper) -> SpeakingPolicy:
    recommended = keeper.model.family.recommended
    return speaking_policy(
        spec.rule, recommended, spec.threshold, spec.confirmations, spec.cooldown_s
    )


def _begins_anew(alert: Alert, keeper: StreamKeeper, stream_s: float) -> bool:
    """As where a store came back empty. After a pause a stream goes on by the clock of its camera,
    which may put it a little before what was seen last: that is no new beginning.
    """
    little_s = _FALLS_BACK_S if alert.session is keeper.session else 0.0
    return alert.has_passed(stream_s + little_s)
