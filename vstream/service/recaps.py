"""Recaps: reports, at given clock times, what came and left since the day before.

One thread watches the clock and makes the reports that are due, one after another. Each is noted
beside its streams before it is sent, so a service that restarts does not send it twice. A report
more than `LATE_S` late is skipped. In a cluster, the worker that watches the first of its streams
makes it.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from memory import KVMemoryError
from vstream.device.asker import Asker
from vstream.errors import VStreamError
from vstream.search.recap import EFFORTS, Recap
from vstream.service.alert_spec import ALL
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.recap_spec import RecapSpec
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.streams import Streams
from vstream.times.when import clock_before, stream_range

_log = structlog.get_logger()
LATE_S = 3600.0
"""How late a report may still be made, for example after a restart."""
_LOOK_S = 15.0
_SETTLE_S = 60.0
"""How long a report waits for streams that nobody watches now: a worker may be taking them over."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class MadeRecap:
    """A finished report on [`begin_at`, `end_at`], in seconds since the epoch."""

    spec: RecapSpec
    recap: Recap
    zone: ZoneInfo
    begin_at: float
    end_at: float
    stream_ids: Sequence[str]


class Recaps:
    """Makes all reports. Call `begin` once the streams are open."""

    def __init__(
        self,
        streams: Streams,
        events: EventLog,
        specs: Sequence[RecapSpec],
        *,
        zone_of: Callable[[Iterable[str]], ZoneInfo],
        on_made: Callable[[MadeRecap], None],
        layers: Sequence[int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`zone_of` returns the time zone of some streams. `on_made` is called in the thread that
        makes reports. For `layers` see MomentSearch; `clock` returns seconds since the epoch.
        """
        self._streams, self._events, self._specs = streams, events, specs
        self._zone_of, self._on_made, self._layers = zone_of, on_made, layers
        self._clock = clock
        self._made: dict[str, float] = {}
        """By id, the end of the newest report of this process."""
        self._stop = threading.Event()
        self._asker = Asker()
        self._thread = threading.Thread(target=self._make_on, name="recaps", daemon=True)

    def begin(self) -> None:
        if self._specs:
            self._thread.start()

    def close(self) -> None:
        """Stop. A report in the making is given up; the next service makes it."""
        self._stop.set()
        self._asker.leave()
        if self._thread.is_alive():
            self._thread.join()

    def make_due(self) -> None:
        """Make the reports that are due. Log one that fails, and try it again next time."""
        for spec in self._specs:
            try:
                self._make_if_due(spec)
            except CancelledError:
                return
            except (VStreamError, KVMemoryError) as error:
                _log.warning("recap not made", recap=spec.id, reason=str(error))
            except Exception:  # noqa: BLE001  the others are made, and the next look is another try
                _log.exception("recap not made", recap=spec.id)

    def _make_on(self) -> None:
        self.make_due()
        while not self._stop.wait(_LOOK_S):
            self.make_due()

    def _make_if_due(self, spec: RecapSpec) -> None:
        wanted = {
            stream_id: note
            for stream_id, note in self._streams.wanted().items()
            if ALL in spec.stream_ids or stream_id in spec.stream_ids
        }
        ids = sorted(stream_id for stream_id, note in wanted.items() if note.is_live)
        if not ids or self._streams.find(ids[0]) is None:
            return
        zone = self._zone_of(ids) if spec.timezone is None else ZoneInfo(spec.timezone)
        now = datetime.fromtimestamp(self._clock(), zone)
        due = clock_before(datetime.strptime(spec.at, "%H:%M").time(), now)
        due_at, begin_at = due.timestamp(), (due - _DAY).timestamp()  # by the clock: a day is a day
        noted_at = [note.noted.get("recaps", {}).get(spec.id, 0.0) for note in wanted.values()]
        is_made = max([self._made.get(spec.id, 0.0), *noted_at]) >= due_at
        late_s = now.timestamp() - due_at
        if is_made or late_s > LATE_S or (len(ids) < len(wanted) and late_s < _SETTLE_S):
            return
        recap = self._recap(spec, ids, begin_at, due_at)
        made = MadeRecap(spec, recap, zone, begin_at, due_at, ids)
        self._made[spec.id] = due_at
        for keeper in self._streams.all():
            if keeper.spec.id in ids:
                self._note(keeper, spec.id, due_at)
        self._report(made)

    def _recap(self, spec: RecapSpec, ids: Sequence[str], begin_at: float, end_at: float) -> Recap:
        with ExitStack() as reading:
            streams = {one: reading.enter_context(self._streams.askable(one)) for one in ids}
            within = {}
            for name, stream in streams.items():
                with stream.model.turn:
                    within[name] = stream_range(stream.memory, begin_at, end_at)
            recap = Recap(
                streams,
                within=within,
                effort=EFFORTS[spec.effort],
                layers=self._layers,
                asker=self._asker,
            )
            for _ in recap:
                pass
            return recap

    def _note(self, keeper: StreamKeeper, recap_id: str, until: float) -> None:
        known = keeper.note.get("recaps", {})
        try:
            keeper.remember(recaps={**known, recap_id: until})
        except KVMemoryError as error:
            _log.warning("recap not noted", stream=keeper.spec.id, reason=str(error))

    def _report(self, made: MadeRecap) -> None:
        """Publish an event for each stream, without the words; then call `on_made`."""
        for stream_id in made.stream_ids:
            entries = [one for one in made.recap.entries if one.stream == stream_id]
            self._events.publish(
                EventKind.RECAP_MADE,
                stream_id,
                {
                    "recap_id": made.spec.id,
                    "from": made.begin_at,
                    "to": made.end_at,
                    "entries": len(entries),
                },
            )
        self._on_made(made)
