"""Watches: standing questions on streams in, firings out, as events and to webhooks.

One thread judges what is due on all streams, in shared passes (`begin_judging`), and looks only at
the newest frame of each stream: where judging cannot keep up, ticks are skipped and counted, and no
stream waits for it. A moment is judged by what had been seen by then, so being late changes nothing
but the delay.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from memory import KVMemoryError, UnknownNameError
from memory.locks import Rank, ranked_lock
from vstream.errors import BusyError, UnknownStreamError, UnknownWatchError, VStreamError
from vstream.ingest import SeenFrame
from vstream.service.event_log import EventKind, EventLog
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.streams import Streams
from vstream.speaking import SPEAKING, speaking_policy
from vstream.speaking.policy import SpeakingPolicy
from vstream.watch import Firing, Watch

_log = structlog.get_logger()
_REST_S = 0.05
_RETRY_S = 5.0
_FALLS_BACK_S = 60.0
_EVIDENCE = 8
"""So many moments go with a firing, the best ones."""
_FIRINGS = 50
"""So many of the newest firings are kept with a watch."""


class WebhookSpec(BaseModel):
    """Where a firing is posted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    type: Literal["webhook"] = "webhook"
    url: str = Field(max_length=2048)
    secret: str | None = Field(None, max_length=200)
    """Signs what is sent; made up and told once if unset."""


def _known(rule: str) -> str:
    try:
        SPEAKING.find(rule)
    except UnknownNameError as error:
        raise ValueError(str(error)) from None
    return rule


class WatchSpec(BaseModel):
    """A standing question."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stream_ids: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        min_length=1, max_length=64
    )
    condition: str = Field(min_length=1, max_length=1000)
    """As `tell me when a parcel is at the door`."""
    every_s: float = Field(1.0, ge=0.2, le=3600)
    """How often it is judged."""
    rule: Annotated[str, AfterValidator(_known)] | None = Field(None, max_length=64)
    """When to tell: `k_of_n`, `silence`; unset: as the model recommends."""
    threshold: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="How probable it must be; unset: as the model recommends. It is told once, and "
        "again only after it has become less probable than this, or than what the model "
        "recommends if that is lower.",
    )
    confirmations: int | None = Field(None, ge=1, le=20)
    """Judgements in a row; unset: as the model recommends."""
    cooldown_s: float = Field(5.0, ge=0, le=86_400)
    """Seconds between two firings."""
    until: float | None = None
    """It ends then, in seconds since the epoch."""
    actions: tuple[WebhookSpec, ...] = Field((), max_length=4)


@dataclass(frozen=True)
class PastFiring:
    """What is kept of a firing. The frame that decided it was captured at `at`, in seconds since
    the epoch, and is at `at_s` of the stream: it shows what was the case, which the moments that
    were read beside it need not.
    """

    stream_id: str
    at: float
    at_s: float
    probability: float


@dataclass(eq=False)
class WatchRecord:
    """One watch, and what has come of it so far."""

    id: str
    spec: WatchSpec
    owner: str
    created_at: float
    fired: int = 0
    last_fired_at: float | None = None
    last_probability: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    firings: deque[PastFiring] = field(default_factory=partial(deque, maxlen=_FIRINGS))
    """The newest ones, newest first."""
    on_streams: dict[StreamKeeper, Watch] = field(default_factory=dict, repr=False)
    """Of those that are still watched; replaced as a whole when one is not."""

    @property
    def noted_beside(self) -> str:
        """The id of the stream whose note holds it: the first that is still watched."""
        return next((one.spec.id for one in self.on_streams), self.spec.stream_ids[0])

    @property
    def judged(self) -> int:
        """Moments that were judged."""
        return sum(watch.num_judged for watch in self.on_streams.values())

    @property
    def skipped(self) -> int:
        """Ticks that went by unjudged."""
        return sum(watch.num_skipped for watch in self.on_streams.values())


@dataclass(frozen=True)
class FiredWatch:
    """A watch whose time has come. `captured_at` is seconds since the epoch."""

    watch: WatchRecord
    stream_id: str
    firing: Firing
    captured_at: float

    @property
    def document(self) -> dict[str, Any]:
        """JSON-able, as events and webhooks carry it; `evidence` best first."""
        return {
            "watch_id": self.watch.id,
            "stream_id": self.stream_id,
            "condition": self.watch.spec.condition,
            "at": self.captured_at,
            **replace(self.firing, evidence=self.firing.evidence[:_EVIDENCE]).document(),
        }


class Watches:
    """Any number at once. May be used from any thread."""

    def __init__(
        self,
        streams: Streams,
        events: EventLog,
        most: int,
        on_fired: Callable[[FiredWatch], None] = lambda fired: None,
    ) -> None:
        """`on_fired` is called in the judging thread and must not block."""
        self._streams = streams
        self._events = events
        self._most = most
        self._on_fired = on_fired
        self._watches: dict[str, WatchRecord] = {}
        self._lock = ranked_lock(Rank.WATCHES)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._newest: dict[StreamKeeper, SeenFrame] = {}
        self._unkept: dict[str, float] = {}
        """Streams beside which the watches could not be written, and when to try again."""
        self._thread = threading.Thread(target=self._judge_on, name="watches", daemon=True)
        self._thread.start()

    def saw(self, keeper: StreamKeeper, frame: SeenFrame) -> None:
        """A stream's newest frame has been encoded."""
        self._newest[keeper] = frame
        self._wake.set()

    def add(self, spec: WatchSpec, owner: str = "") -> WatchRecord:
        """Raises UnknownStreamError for one that is not watched here, BusyError, SettingsError."""
        keepers = [self._streams.get(stream_id) for stream_id in spec.stream_ids]
        made = self._set(spec, owner, f"watch_{secrets.token_hex(12)}", keepers)
        self._remember(made.noted_beside)
        return made

    def open_known(self) -> None:
        """Go on with the watches that the streams' notes hold, on those of their streams that could
        be opened.
        """
        for keeper in self._streams.all():
            for kept in keeper.note.get("watches", []):
                try:
                    spec = WatchSpec.model_validate(kept["spec"])
                    self._set(spec, kept["owner"], kept["id"], self._watched(spec))
                except (KeyError, ValueError, VStreamError) as error:
                    _log.error("watch not set", stream=keeper.spec.id, reason=str(error))

    def get(self, watch_id: str) -> WatchRecord:
        """Raises UnknownWatchError."""
        found = self._watches.get(watch_id)
        if found is None:
            raise UnknownWatchError(f"there is no watch {watch_id}")
        return found

    def all(self) -> list[WatchRecord]:
        """In the order in which they were set."""
        with self._lock:
            return list(self._watches.values())

    def remove(self, watch_id: str, reason: str = "deleted") -> WatchRecord:
        """Raises UnknownWatchError."""
        with self._lock:
            found = self._watches.pop(watch_id, None)
        if found is None:
            raise UnknownWatchError(f"there is no watch {watch_id}")
        for stream_id in {found.noted_beside, *(one.spec.id for one in found.on_streams)}:
            self._remember(stream_id)  # one that was away for a while may hold it as well
        self._events.publish(
            EventKind.WATCH_ENDED,
            found.spec.stream_ids[0] if len(found.spec.stream_ids) == 1 else None,
            {"watch_id": watch_id, "reason": reason, "fired": found.fired},
        )
        return found

    def close(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _watched(self, spec: WatchSpec) -> list[StreamKeeper]:
        """Those of the streams that it names that are watched here, in its order."""
        here = {keeper.spec.id: keeper for keeper in self._streams.all()}
        return [here[stream_id] for stream_id in spec.stream_ids if stream_id in here]

    def _set(
        self, spec: WatchSpec, owner: str, watch_id: str, keepers: Sequence[StreamKeeper]
    ) -> WatchRecord:
        made = WatchRecord(
            id=watch_id,
            spec=spec,
            owner=owner,
            created_at=time.time(),
            on_streams={
                keeper: Watch(keeper.session, spec.condition, _rule(spec, keeper), spec.every_s)
                for keeper in keepers
            },
        )
        with self._lock:
            if len(self._watches) >= self._most:
                raise BusyError(f"{self._most} watches are set, as many as may be: delete one")
            self._watches[made.id] = made
        self._wake.set()
        return made

    def _remember(self, stream_id: str) -> None:
        """Keep the watches that are set on a stream beside it, as far as it can be written."""
        kept = [
            {"id": one.id, "owner": one.owner, "spec": one.spec.model_dump(mode="json")}
            for one in self.all()
            if one.noted_beside == stream_id
        ]
        try:
            self._streams.get(stream_id).remember(watches=kept)
        except UnknownStreamError:
            return  # and with it its watches
        except KVMemoryError as error:
            _log.warning("watches not kept yet", stream=stream_id, reason=str(error))
            self._unkept[stream_id] = time.monotonic() + _RETRY_S

    def _judge_on(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            try:
                self._end_those_over()
                self._judge_due()
                self._keep_those_unkept()
            except Exception:  # noqa: BLE001  the next tick is another try
                _log.exception("judging failed")
            self._stop.wait(_REST_S)

    def _end_those_over(self) -> None:
        now, records, watched = time.time(), self.all(), set(self._streams.all())
        for keeper in set(self._newest) - watched:
            del self._newest[keeper]
        for record in records:
            over = None
            if not watched.issuperset(record.on_streams):
                kept = {one: watch for one, watch in record.on_streams.items() if one in watched}
                record.on_streams = kept
                over = None if kept else "stream deleted"
                if kept:
                    self._remember(record.noted_beside)
            if record.spec.until is not None and now >= record.spec.until:
                over = "until"
            if over is not None:
                with suppress(UnknownWatchError):  # deleted just now
                    self.remove(record.id, over)

    def _keep_those_unkept(self) -> None:
        """The store was away when they were set or deleted."""
        now = time.monotonic()
        for stream_id in [name for name, at in self._unkept.items() if at <= now]:
            del self._unkept[stream_id]
            self._remember(stream_id)

    def _judge_due(self) -> None:
        """Everything that is due, put to the model at once."""
        begun = []
        for record in self.all():
            for keeper, watch in record.on_streams.items():
                frame = self._newest.get(keeper)
                if frame is not None and _begins_anew(watch, keeper, frame.stream_s):
                    watch.begin_anew(_rule(record.spec, keeper))
                if frame is None or not watch.is_due(frame.stream_s):
                    continue
                watch.session = keeper.session
                if (job := watch.begin(frame.stream_s)) is not None:
                    begun.append((record, keeper, watch, frame, job))
        for record, keeper, watch, frame, job in begun:
            try:
                judgement = job.result()
            except (VStreamError, KVMemoryError) as error:
                record.problem = str(error)
                continue
            except Exception as error:  # noqa: BLE001  the other watches are told theirs
                _log.exception("judging failed", watch=record.id, stream=keeper.spec.id)
                record.problem = f"judging failed: {type(error).__name__}"
                continue
            record.problem = None
            record.last_probability[keeper.spec.id] = judgement.probability
            firing = watch.feed(judgement)
            if firing is not None:
                self._fire(FiredWatch(record, keeper.spec.id, firing, frame.captured_at))

    def _fire(self, fired: FiredWatch) -> None:
        fired.watch.fired += 1
        fired.watch.last_fired_at = time.time()
        fired.watch.firings.appendleft(
            PastFiring(
                fired.stream_id, fired.captured_at, fired.firing.at_s, fired.firing.probability
            )
        )
        self._events.publish(EventKind.WATCH_FIRED, fired.stream_id, fired.document)
        self._on_fired(fired)


def _rule(spec: WatchSpec, keeper: StreamKeeper) -> SpeakingPolicy:
    recommended = keeper.model.family.recommended
    return speaking_policy(
        spec.rule, recommended, spec.threshold, spec.confirmations, spec.cooldown_s
    )


def _begins_anew(watch: Watch, keeper: StreamKeeper, stream_s: float) -> bool:
    """As where a store came back empty. After a pause a stream goes on by the clock of its camera,
    which may put it a little before what was seen last: that is no new beginning.
    """
    little_s = _FALLS_BACK_S if watch.session is keeper.session else 0.0
    return watch.has_passed(stream_s + little_s)
