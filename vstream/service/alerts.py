"""Alerts: judges alerts on streams, and reports their firings as events and to webhooks.

One thread judges what is due on all streams, in shared passes (`begin_judging`), and looks only at
the newest frame of each stream: if judging cannot keep up, ticks are skipped and counted, and no
stream waits for it. A judgement uses what had been seen by its moment, so being late adds nothing
but delay.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from math import inf

import structlog

from memory import KVMemoryError, StoreError
from vstream.alert import Alert
from vstream.errors import UnknownAlertError, UnknownStreamError, VStreamError
from vstream.ingest import SeenFrame
from vstream.question import Judgement
from vstream.service.alert_book import AlertBook, alert_on, logging_errors, rule_on, take_firings
from vstream.service.alert_notes import AlertNotes
from vstream.service.alert_record import AlertRecord, FiredAlert
from vstream.service.alert_spec import ALL, AlertSpec, DeclaredAlert
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.firing_sentences import FiringSentences
from vstream.service.just_forgotten import JustForgotten
from vstream.service.past_firing import PastFiring
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_notes import StreamNote
from vstream.service.streams import Streams

_log = structlog.get_logger()
_REST_S = 0.05
_TICK_S = 0.001
_FALLS_BACK_S = 60.0
_RETAIN_S = 5.0
"""How often to forget here what streams no longer retain."""


class Alerts:
    """Holds any number of alerts. Safe from any thread."""

    def __init__(
        self,
        streams: Streams,
        events: EventLog,
        most: int,
        on_fired: Callable[[FiredAlert], None] = lambda fired: None,
        on_ready: Callable[[FiredAlert], None] = lambda fired: None,
        on_forgotten: Callable[[str, float, float], None] | None = None,
    ) -> None:
        """`on_fired` is called at once, `on_ready` with what the model says about it, see
        FiringSentences: in the judging thread, so they must not block. `on_forgotten` is called for
        every stretch of a stream that is forgotten, also by its retention.
        """
        self._streams = streams
        self._events = events
        self._on_fired = on_fired
        self._on_forgotten = on_forgotten
        self._book = AlertBook(streams, most)
        self._lock = self._book.lock
        self.get, self.all = self._book.get, self._book.all
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._newest: dict[StreamKeeper, tuple[SeenFrame, float]] = {}
        """With when it came, by the monotonic clock."""
        self._released: set[StreamKeeper] = set()
        """Streams that another process takes over, until they are no longer watched here."""
        self._forgotten = JustForgotten()
        self._notes = AlertNotes(streams, self._book)
        self._sentences = FiringSentences(events, on_ready, self._notes.write_soon, self._wake.set)
        self._retained_at = 0.0
        self._thread = threading.Thread(target=self._judge_on, name="alerts", daemon=True)
        self._thread.start()

    def saw(self, keeper: StreamKeeper, frame: SeenFrame) -> None:
        """Take note that a stream's newest frame has been encoded."""
        self._newest[keeper] = frame, time.monotonic()
        self._wake.set()

    def add(self, spec: AlertSpec, owner: str = "") -> AlertRecord:
        """Raises UnknownStreamError for a stream that neither this service nor another worker
        watches; BusyError, SettingsError, StoreError.
        """
        self._require_watched(spec.stream_ids)
        made = self._book.make(spec, owner)
        if self._streams.is_one_of_many and not made.on_streams:  # others would not hear of it
            raise UnknownStreamError("there is no stream yet: create one first")
        self._book.enter(made)
        self._wake.set()
        for stream_id in made.noted_on:
            self._notes.write(stream_id)
        return made

    def open_known(self, declared: Sequence[DeclaredAlert] = ()) -> None:
        """Continue with the alerts in the streams' notes, and with those `declared`, on those of
        their streams that could be opened.
        """
        keepers = self._streams.all()
        self._book.take(kept for one in keepers for kept in one.note.get("alerts", []))
        for one in declared:
            with logging_errors(one.id):
                made = self._book.make(one.spec, "", one.id)
                made.is_declared = True
                take_firings(made)
                self._book.enter(made)
        for keeper in keepers:
            stream_id, note = keeper.spec.id, keeper.note
            fired = {one.id for one in self.all() if one.fired_on[stream_id]}
            has_more = note.get("firings", {}).keys() - fired  # nobody could forget those
            on_it = {one.id for one in self.all() if one.is_noted_beside(stream_id)}
            if has_more or on_it - {kept.get("id") for kept in note.get("alerts", [])}:
                self._notes.write_soon(stream_id)
        self._wake.set()

    def adopt(self, keeper: StreamKeeper) -> None:
        """Continue with the alerts on a stream that another service has left."""
        self._book.take(keeper.note.get("alerts", []))
        for record in self.all():
            if record.spec.is_on(keeper.spec.id):
                self._begin_on(keeper, record)
        self._notes.write(keeper.spec.id)
        self._wake.set()

    def follow(self, notes: Mapping[str, StreamNote]) -> None:
        """Adopt the alerts that the other workers have noted."""
        noted = (kept for note in notes.values() for kept in note.noted.get("alerts", []))
        for stream_id in self._book.take(noted):
            self._notes.write(stream_id)
        self._book.drop_without({name for name, note in notes.items() if note.is_wanted})
        self._wake.set()

    def release(self, keeper: StreamKeeper) -> None:
        """Stop judging on a stream that another process will take over, once it is not watched
        here; no alert ends by that.
        """
        self._released.add(keeper)
        self._notes.write(keeper.spec.id)
        self._wake.set()

    def change(self, alert_id: str, spec: AlertSpec) -> AlertRecord:
        """Change what an alert wants. What has come of it stays, unless its condition is another:
        then it starts over. A firing from before is still reported as what it was.

        Raises UnknownAlertError, UnknownStreamError for a stream that it was not on and that is not
        watched, SettingsError, ConfiguredError, StoreError; then nothing has changed.
        """
        record = self._book.require_changeable(alert_id)
        self._require_watched(set(spec.stream_ids) - set(record.spec.stream_ids))
        rules, was_on = self._book.rules(spec), record.noted_on
        with self._lock:
            record.take(spec, rules)
            record.changed_at = max(time.time(), record.changed_at + _TICK_S)
        for stream_id in was_on | record.noted_on:
            self._notes.write(stream_id)
        self._wake.set()
        return record

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Forget firings at moments of [from_s, to_s], and what was said about them, in the events
        too.
        """
        with self._lock:
            self._forgotten.add(stream_id, from_s, to_s)
        self._sentences.forget(stream_id, from_s)
        self._forget_said(stream_id, from_s, to_s)

    def see(self, is_meant: Callable[[PastFiring], bool]) -> int:
        """Mark firings as seen, for all who may see them; return how many were not."""
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
        """Raises UnknownAlertError, ConfiguredError."""
        if reason == "deleted":
            self._book.require_changeable(alert_id)
        found = self._book.end(alert_id)
        for stream_id in found.noted_on:
            self._notes.write(stream_id)
        names = found.spec.stream_ids
        self._events.publish(
            EventKind.ALERT_ENDED,
            names[0] if len(names) == 1 and names != (ALL,) else None,
            {**found.ids, "reason": reason, "fired": found.fired},
        )
        return found

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._sentences.close()
        self._notes.close()

    def _require_watched(self, stream_ids: Collection[str]) -> None:
        """Raises UnknownStreamError, StoreError."""
        for unknown in set(stream_ids) - self._streams.wanted().keys() - {ALL}:
            raise UnknownStreamError(f"there is no stream {unknown} here")

    def _judge_on(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            try:
                self._end_those_over()
                self._begin_on_new()
                self._judge_due()
                self._sentences.go_on()
                self._forget_not_retained()
                self._notes.go_on()
            except Exception:  # noqa: BLE001  the next tick is another try
                _log.exception("judging failed")
            self._stop.wait(_REST_S)

    def _end_those_over(self) -> None:
        now, watched = time.time(), set(self._streams.all())
        released = self._released - watched
        for keeper in set(self._newest) - watched:
            del self._newest[keeper]
        for record in self.all():
            gone = set(record.on_streams) - watched
            is_late = record.spec.until is not None and now >= record.spec.until
            if not gone and not is_late:
                continue
            wanted = self._wanted_of(record)
            with self._lock:
                kept = {one: alert for one, alert in record.on_streams.items() if one in watched}
                record.on_streams = kept
                record.leave({keeper.spec.id for keeper in gone & released})
            deleted = {keeper.spec.id for keeper in gone - released}
            ends_with_streams = ALL not in record.spec.stream_ids
            if is_late and (not wanted or self._streams.find(wanted[0]) is not None):
                over = "until"  # of several workers, the one that has the first stream reports it
            elif deleted and not kept and ends_with_streams and deleted.issuperset(wanted):
                over = "stream deleted"
            else:
                continue
            with suppress(UnknownAlertError):  # deleted just now
                self.remove(record.id, over)
        self._released -= released

    def _wanted_of(self, record: AlertRecord) -> list[str]:
        """Return those of its streams that this or another worker still watches."""
        try:
            wanted = self._streams.wanted()
        except StoreError:
            return list(record.spec.stream_ids)
        return sorted(filter(record.spec.is_on, wanted))

    def _begin_on_new(self) -> None:
        """Have alerts on all streams on those that have been added, too."""
        for record in self.all():
            if ALL not in record.spec.stream_ids:
                continue
            for keeper in self._book.here(record.spec):
                if keeper in record.on_streams or keeper in self._released:
                    continue
                try:
                    self._begin_on(keeper, record)
                    self._notes.write_soon(keeper.spec.id)
                except VStreamError as error:
                    record.problem = str(error)

    def _begin_on(self, keeper: StreamKeeper, record: AlertRecord) -> None:
        """Raises SettingsError."""
        alert = alert_on(keeper, record.spec)
        with self._lock:
            if keeper not in record.on_streams:
                record.on_streams = {**record.on_streams, keeper: alert}
                take_firings(record)

    def _forget_not_retained(self) -> None:
        if time.monotonic() < self._retained_at + _RETAIN_S:
            return
        self._retained_at = time.monotonic()
        for keeper in self._streams.all():
            memory = keeper.session.memory
            if memory.retain_s is not None:
                self._forget_said(keeper.spec.id, -inf, memory.newest_s - memory.retain_s)

    def _forget_said(self, stream_id: str, from_s: float, to_s: float) -> None:
        records = self.all()
        with self._lock:
            forgotten = [one.forget(stream_id, from_s, to_s) for one in records]
        if any(forgotten):
            self._notes.write_soon(stream_id)
        self._events.forget(stream_id, from_s, to_s)
        if self._on_forgotten is not None:
            self._on_forgotten(stream_id, from_s, to_s)

    def _judge_due(self) -> None:
        jobs = []
        for record in self.all():
            for keeper, alert in record.on_streams.items():
                frame, came_at = self._newest.get(keeper, (None, 0.0))
                if frame is not None and _starts_over(alert, keeper, frame.stream_s):
                    alert.start_over(rule_on(keeper, record.spec))
                if frame is None or not alert.is_due(frame.stream_s):
                    continue
                alert.session = keeper.session
                if (job := alert.begin(frame.stream_s)) is not None:
                    jobs.append((record, keeper, alert, frame.captured_at, came_at, job))
        for record, keeper, alert, captured_at, came_at, job in jobs:
            try:
                judgement = job.result()
            except (VStreamError, KVMemoryError) as error:
                record.problem = str(error)
                continue
            except Exception as error:  # noqa: BLE001  the other alerts go on
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
        """Take a judgement of what was captured `at` and `came_at`. Call it with the lock held."""
        stream_id = keeper.spec.id
        record.problem = judgement.strange
        record.last_probability[stream_id] = judgement.probability
        firing = record.on_streams[keeper].feed(judgement)
        if firing is None:
            return
        for one, from_s, to_s in self._forgotten.since(came_at):
            if one == stream_id and from_s <= firing.at_s <= to_s:
                return
        firing_id = self._events.new_id()
        past = PastFiring(firing_id, stream_id, at, firing.at_s, firing.probability, time.time())
        fired = FiredAlert(record, firing, past)
        record.fired_on[stream_id] += 1
        record.firings.appendleft(past)
        self._notes.write_soon(stream_id)
        self._events.publish(EventKind.ALERT_FIRED, past.stream_id, fired.document)
        self._on_fired(fired)
        self._sentences.begin(fired, keeper.session)


def _starts_over(alert: Alert, keeper: StreamKeeper, stream_s: float) -> bool:
    """Whether the stream starts over, as when a store came back empty. After a pause a stream
    continues by its camera's clock, maybe a little before what was seen last: that does not count.
    """
    little_s = _FALLS_BACK_S if alert.session is keeper.session else 0.0
    return alert.has_passed(stream_s + little_s)
