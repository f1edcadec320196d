"""Recaps: clock times in, a report of what came and left since the day before out, at each of them.

One thread looks at the clock and makes what is due, one report after the other. What was made is
noted beside the streams that it tells of before it is sent: a service that starts again does not
send it twice. What has been due for more than `LATE_S` is passed over. Of many services that are
one, the one that watches the first of the streams makes it.
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
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.recap_spec import ALL, RecapSpec
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.streams import Streams
from vstream.times.when import clock_before, stream_range

_log = structlog.get_logger()
LATE_S = 3600.0
"""So long after its time a report is still made, as where the service was being restarted."""
_LOOK_S = 15.0
_SETTLE_S = 60.0
"""So long a report waits for streams that nobody watches now: they may be being taken over."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class MadeRecap:
    """A report that has been made, of [`begin_at`, `end_at`] in seconds since the epoch."""

    spec: RecapSpec
    recap: Recap
    zone: ZoneInfo
    begin_at: float
    end_at: float
    stream_ids: Sequence[str]


class Recaps:
    """`begin` once the streams are there."""

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
        """`zone_of` some streams is the zone of times there. `on_made` is called in the thread of
        the reports. `layers` as in MomentSearch; `clock` gives seconds since the epoch.
        """
        self._streams, self._events, self._specs = streams, events, specs
        self._zone_of, self._on_made, self._layers = zone_of, on_made, layers
        self._clock = clock
        self._made: dict[str, float] = {}
        """By id, until when the newest report of this process tells."""
        self._stop = threading.Event()
        self._asker = Asker()
        self._thread = threading.Thread(target=self._make_on, name="recaps", daemon=True)

    def begin(self) -> None:
        if self._specs:
            self._thread.start()

    def close(self) -> None:
        """A report that is being made is given up; it is made by the next service."""
        self._stop.set()
        self._asker.leave()
        if self._thread.is_alive():
            self._thread.join()

    def make_due(self) -> None:
        """What is due now. One that fails is logged, and tried again the next time."""
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
        told_at = [note.noted.get("recaps", {}).get(spec.id, 0.0) for note in wanted.values()]
        is_made = max([self._made.get(spec.id, 0.0), *told_at]) >= due_at
        late_s = now.timestamp() - due_at
        if is_made or late_s > LATE_S or (len(ids) < len(wanted) and late_s < _SETTLE_S):
            return
        recap = self._recap(spec, ids, begin_at, due_at)
        made = MadeRecap(spec, recap, zone, begin_at, due_at, ids)
        self._made[spec.id] = due_at
        for keeper in self._streams.all():
            if keeper.spec.id in ids:
                self._note(keeper, spec.id, due_at)
        self._tell(made)

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

    def _tell(self, made: MadeRecap) -> None:
        """Each stream's listeners, without its words; then who is to get it."""
        for stream_id in made.stream_ids:
            told = [one for one in made.recap.entries if one.stream == stream_id]
            self._events.publish(
                EventKind.RECAP_MADE,
                stream_id,
                {
                    "recap_id": made.spec.id,
                    "from": made.begin_at,
                    "to": made.end_at,
                    "entries": len(told),
                },
            )
        self._on_made(made)
