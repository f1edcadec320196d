"""AlertBook: holds the alerts of a service by id, as the notes of their streams have them.

An alert stands in the notes of all its streams, as any of them may go on without the others. Each
worker of a cluster has all alerts, judges them on the streams that it watches, and follows what the
others note: the newer of two versions counts, and the end of an alert stays noted in its place for
a while.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any

import structlog

from memory.locks import Rank, ranked_lock
from vstream.alert import Alert
from vstream.errors import BusyError, ConfiguredError, UnknownAlertError, VStreamError
from vstream.service.alert_record import AlertRecord
from vstream.service.alert_spec import ALL, AlertSpec
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.streams import Streams
from vstream.speaking import speaking_policy
from vstream.speaking.policy import SpeakingPolicy

_log = structlog.get_logger()
_ENDED_S = 3600.0
_Noted = Mapping[str, Any]


class AlertBook:
    """Safe from any thread; `lock` guards the records and what they hold."""

    def __init__(self, streams: Streams, most: int) -> None:
        self.lock = ranked_lock(Rank.ALERTS)
        self._streams = streams
        self._most = most
        self._records: dict[str, AlertRecord] = {}
        self._ended: dict[str, float] = {}
        """When alerts ended, by id, if the other workers have to learn it."""

    def get(self, alert_id: str) -> AlertRecord:
        """Raises UnknownAlertError."""
        found = self._records.get(alert_id)
        if found is None:
            raise UnknownAlertError(f"there is no alert {alert_id}")
        return found

    def all(self) -> list[AlertRecord]:
        """Return all alerts, in the order in which they were set."""
        with self.lock:
            return list(self._records.values())

    def make(self, spec: AlertSpec, owner: str = "", alert_id: str | None = None) -> AlertRecord:
        """Make an alert on those of its streams that are here; `enter` adds it. Raises
        SettingsError.
        """
        alerts = {keeper: alert_on(keeper, spec) for keeper in self.here(spec)}
        alert_id = alert_id or f"alert_{secrets.token_hex(12)}"
        return AlertRecord(alert_id, spec, owner, time.time(), on_streams=alerts)

    def enter(self, made: AlertRecord) -> None:
        """Raises BusyError."""
        with self.lock:
            self._enter(made)

    def end(self, alert_id: str) -> AlertRecord:
        """Raises UnknownAlertError."""
        with self.lock:
            found = self._records.pop(alert_id, None)
            if found is None:
                raise UnknownAlertError(f"there is no alert {alert_id}")
            self._ended[alert_id] = max(time.time(), found.changed_at)
        return found

    def require_changeable(self, alert_id: str) -> AlertRecord:
        """Raises UnknownAlertError, ConfiguredError for one that other workers would set again."""
        found = self.get(alert_id)
        if found.is_declared and self._streams.is_one_of_many:
            raise ConfiguredError(f"alert {alert_id} is declared in the configuration: change that")
        return found

    def drop_without(self, wanted: Set[str]) -> None:
        """Drop alerts on none of these streams: another worker has reported their end."""
        with self.lock:
            for one in list(self._records.values()):
                stays = one.on_streams or one.is_declared or ALL in one.spec.stream_ids
                if not stays and not any(map(one.spec.is_on, wanted)):
                    del self._records[one.id]

    def here(self, spec: AlertSpec) -> list[StreamKeeper]:
        """Return those of its streams that are watched here, by id."""
        return [keeper for keeper in self._streams.all() if spec.is_on(keeper.spec.id)]

    def noted_beside(self, stream_id: str) -> list[dict[str, Any]]:
        """Return what the note of a stream is to hold."""
        with self.lock:
            alerts = [one.noted for one in self._records.values() if one.is_noted_beside(stream_id)]
            if not self._streams.is_one_of_many:
                return alerts
            since = time.time() - _ENDED_S
            self._ended = {name: at for name, at in self._ended.items() if at > since}
            ended = [{"id": name, "ended_at": at} for name, at in self._ended.items()]
        return [*alerts, *ended]

    def take(self, noted: Iterable[_Noted]) -> set[str]:
        """Adopt the alerts in notes that are newer. Return the streams whose notes must follow."""
        newest: dict[str, _Noted] = {}
        for kept in noted:
            with logging_errors("?"):
                name = kept["id"]
                if _at(kept) > _at(newest.get(name)):
                    newest[name] = kept
        streams = set()
        for name, kept in newest.items():
            with logging_errors(name):
                streams |= self._take(name, kept)
        return streams

    def _take(self, alert_id: str, kept: _Noted) -> set[str]:
        """Raises KeyError, TypeError, ValueError, VStreamError for what makes no sense."""
        known = self._records.get(alert_id)
        at = -1.0 if known is None else known.changed_at
        if _at(kept) <= max(at, self._ended.get(alert_id, -1.0)):
            return set()
        if "ended_at" in kept:
            with self.lock:
                self._records.pop(alert_id, None)
                self._ended[alert_id] = kept["ended_at"]
            return set() if known is None else known.noted_on
        spec = AlertSpec.model_validate(kept["spec"])
        if known is None:
            made = self.make(spec, kept["owner"], alert_id)
            made.created_at = kept.get("created_at", made.created_at)
            made.changed_at = _at(kept)
            take_firings(made)
            with self.lock:
                if alert_id not in self._records:
                    self._enter(made)
            return {keeper.spec.id for keeper in made.on_streams}
        was_on, rules = known.noted_on, self.rules(spec)
        with self.lock:
            known.take(spec, rules)
            known.changed_at = _at(kept)
        return was_on | known.noted_on

    def rules(self, spec: AlertSpec) -> dict[StreamKeeper, SpeakingPolicy]:
        """Return the rule for each stream that is watched here. Raises SettingsError."""
        return {keeper: rule_on(keeper, spec) for keeper in self.here(spec)}

    def _enter(self, made: AlertRecord) -> None:
        if len(self._records) >= self._most:
            raise BusyError(f"{self._most} alerts are set, as many as may be: delete one")
        self._records[made.id] = made


@contextmanager
def logging_errors(alert_id: str) -> Iterator[None]:
    """Log why an alert cannot be set, so that the others still are."""
    try:
        yield
    except (KeyError, TypeError, ValueError, VStreamError) as error:
        _log.error("alert not set", alert=alert_id, reason=str(error))


def take_firings(record: AlertRecord) -> None:
    """Take what its streams' notes say of its firings there, unless it knows them already."""
    for keeper in record.on_streams:
        noted = keeper.note.get("firings", {}).get(record.id)
        if noted is not None and not record.fired_on[keeper.spec.id]:
            with logging_errors(record.id):
                record.take_noted(keeper.spec.id, noted)


def alert_on(keeper: StreamKeeper, spec: AlertSpec) -> Alert:
    return Alert(keeper.session, spec.condition, rule_on(keeper, spec), spec.every_s)


def rule_on(keeper: StreamKeeper, spec: AlertSpec) -> SpeakingPolicy:
    recommended = keeper.model.family.recommended
    return speaking_policy(
        spec.rule, recommended, spec.threshold, spec.confirmations, spec.cooldown_s
    )


def _at(kept: _Noted | None) -> float:
    """Return when it was noted so; for notes of an earlier version, when the alert was made."""
    if kept is None:
        return -1.0
    return float(kept.get("ended_at", kept.get("changed_at", kept.get("created_at", 0.0))))
