"""Service: holds what lives as long as the process: the model, streams, alerts and so on.

A thread loads the model, so that the server can already answer `/health` and `/ready`.
"""

import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from app.server.answering import Answering
from app.server.api_errors import ApiError
from app.server.background import KEPT_S, MOST_KEPT, BackgroundResponses, Resume
from app.server.documents import pictured, rfc3339
from app.server.keys import ApiKeys
from app.server.metrics import Metrics
from app.server.recap_documents import RecapDocument
from app.server.settings import ServiceSettings
from app.server.time_range import TimeRange
from app.server.traces import open_traces
from memory import KVMemoryError, MemoryReader, StoreError, tier_of
from memory.locks import Rank, ranked_lock
from vstream.decoding.grammar_trials import MOST_WAITING
from vstream.device.free_memory import leave_out_of_collections
from vstream.device.scheduler import Limits
from vstream.device.shares import RateLimit, Shares
from vstream.errors import VStreamError
from vstream.models.video_llm import VideoLLM, load_video_llm
from vstream.search.moment import Moment
from vstream.search.moment_search import MomentSearch
from vstream.service.alert_record import FiredAlert
from vstream.service.alert_spec import WebhookSpec
from vstream.service.alerts import Alerts
from vstream.service.answer_log import open_answer_log
from vstream.service.clip import picture_at
from vstream.service.event import MOST
from vstream.service.event_log import EventLog
from vstream.service.kept_events import KeptEvents
from vstream.service.owed_webhook import MOST as MOST_OWED
from vstream.service.owed_webhook import OwedWebhook
from vstream.service.past_firing import PastFiring
from vstream.service.recaps import MadeRecap, Recaps
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_lines import StreamLines
from vstream.service.streams import Streams
from vstream.service.webhook import WebhookSender
from vstream.service.webhook_delivery import WebhookDelivery
from vstream.sources.decoder_process import start_forker
from vstream.sources.permission import SourcePolicy
from vstream.times.when import moments_range, parse_when, stream_range

_log = structlog.get_logger()


class Phase(StrEnum):
    """The phases of a service's life."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


class Service:
    """The service of one process."""

    def __init__(
        self, settings: ServiceSettings, keys: ApiKeys, *, is_one_of_many: bool = False
    ) -> None:
        """`loaded` is available once `phase` is ready. With `is_one_of_many`, this is one of
        several workers over one store: each is assigned its streams, and each reports on all.
        """
        limits = settings.service
        self.is_one_of_many = is_one_of_many
        self.settings = settings
        self.keys = keys
        self.page_token = secrets.token_urlsafe()
        """Identifies the page of this process, whose visitors count as one caller."""
        self.started_at = time.time()
        self.phase = Phase.LOADING
        self.failure: Exception | None = None
        self.events = EventLog()
        shared = settings.memory.store if is_one_of_many else None
        self.answer_log = open_answer_log(limits.answer_log, shared)
        self.metrics = Metrics()
        self.traces = open_traces()
        self.rate_limit = RateLimit(limits.requests_per_minute)
        self.policy = SourcePolicy(
            allow_files=limits.allow_files,
            allow_private=limits.allow_private,
            allow_webcams=limits.allow_webcams,
        )
        self.webhooks = WebhookSender(allow_private=limits.allow_private)
        self._keep_lines()
        self.listeners = Shares(limits.max_listeners, "clients are listening to events")
        self.showing = Shares(limits.request_media, "questions that show pictures are answered")
        self.answering = Answering(limits.max_running + limits.max_waiting + MOST_WAITING)
        tasks = tier_of(settings.memory.store).tasks(MOST_KEPT, KEPT_S)
        self.responses = BackgroundResponses(self.events, self.answering, tasks)
        self.resume: Resume | None = None
        """How to continue a response that another process has left."""
        self.on_failed: Callable[[], None] = lambda: None
        """Called in the loading thread if the service cannot start."""
        self._drained_at = 0.0
        self._running: _Loaded | None = None
        self._loading: threading.Thread | None = None
        self._opened = threading.Event()
        self._phase_lock = ranked_lock(Rank.PHASE)

    @property
    def loaded(self) -> "_Loaded":
        """Model, streams, alerts and search. Raises ApiError unless the service is ready."""
        if self._running is None or self.phase is not Phase.READY:
            raise ApiError(503, f"the service is {self.phase}", f"service_{self.phase}")
        return self._running

    def load(self) -> None:
        """Load the model and open the streams; `phase` and `failure` say how that went."""
        try:
            start_forker()
            self._running = _Loaded(self, self._load_model())
            self._keep_lines()  # a store that was away may be back; else no stream opens either
            self._open_known(self._running)
            leave_out_of_collections()
            with self._phase_lock:
                if self.phase is Phase.LOADING:
                    self.phase = Phase.READY
                    _log.info("ready", model=self._running.model.name)
        except Exception as error:  # noqa: BLE001  reported by /ready and by run
            self.failure = error
            self.phase = Phase.FAILED
            self.on_failed()
        finally:
            self._opened.set()

    def load_in_background(self) -> None:
        self._loading = threading.Thread(target=self.load, name="load", daemon=True)
        self._loading.start()

    @property
    def is_loading(self) -> bool:
        """Whether the model is loading, which cannot be interrupted."""
        return self._loading is not None and self._loading.is_alive()

    def drain(self) -> None:
        """Refuse new questions and end event streams; running answers go on."""
        with self._phase_lock:
            if self.phase is not Phase.DRAINING:
                self.phase, self._drained_at = Phase.DRAINING, time.monotonic()
        self.events.close()

    def cut_off(self) -> None:
        self.answering.cut_off()

    def close(self) -> None:
        """Stop what still runs, flush all blocks, and close everything."""
        self.drain()
        until = self._drained_at + self.settings.service.grace_s
        self._opened.wait(until - time.monotonic())
        self.responses.close(until)
        if self._running is not None:
            self._running.close()
        self.webhooks.close(grace_s=2.0)
        self.events.let_go()
        if self.answer_log is not None:
            self.answer_log.close()

    def _open_known(self, loaded: "_Loaded") -> None:
        if not self.is_one_of_many:
            loaded.streams.open_known()
            self.events.leave_to_others({one.spec.id for one in loaded.streams.all()})
        loaded.alerts.open_known(self.settings.alerts)
        loaded.send_owed({one.spec.id for one in loaded.streams.all()})
        loaded.recaps.begin()
        if self.resume is not None:
            self.responses.go_on(self.resume)

    def _keep_lines(self) -> None:
        """Keep events and owed webhooks in the store, if it lasts and does not keep them yet."""
        try:
            tier = tier_of(self.settings.memory.store)
            if not self.events.is_kept and (lines := tier.lines("events", MOST)):
                self.events.keep(KeptEvents(lines), owned=self.is_one_of_many)
            if not self.webhooks.is_kept and (lines := tier.lines("webhooks", MOST_OWED)):
                self.webhooks.keep(StreamLines(lines, OwedWebhook.of))
        except StoreError as error:
            _log.error("events and webhooks are not kept", reason=str(error))

    def _load_model(self) -> VideoLLM:
        settings = self.settings
        return load_video_llm(
            settings.model, settings.device, settings.dtype, settings.source.sample_fps
        )


class _Loaded:
    """Everything that needs the loaded model."""

    def __init__(self, service: Service, model: VideoLLM) -> None:
        settings, limits = service.settings, service.settings.service
        self.model = model
        model.scheduler.limits = Limits(limits.max_running, limits.max_waiting)
        self._service = service
        self._base = limits.public_url or ""
        self.streams = Streams(
            settings,
            model,
            service.events,
            policy=service.policy,
            max_streams=limits.max_streams,
            max_readers=limits.max_running,
            configured=settings.streams,
            is_one_of_many=service.is_one_of_many,
            on_frame=self._saw,
            on_forgotten=lambda *stretch: self.alerts.forget(*stretch),
            on_adopted=self._adopt,
            on_released=self._release,
        )
        self.alerts = Alerts(
            self.streams,
            service.events,
            limits.max_alerts,
            on_fired=lambda fired: service.metrics.saw_firing(fired.past.stream_id),
            on_ready=self._send_firing,
            on_forgotten=self._forget,
        )
        self.recaps = Recaps(
            self.streams,
            service.events,
            settings.recaps,
            zone_of=self.zone_of,
            layers=settings.engine.search_layers,
            on_made=self.send_recap,
        )
        self.search = StreamSearch(self.streams, model, settings.engine.search_layers)
        service.metrics.report_streams(model, self.streams.all)
        if (traces := service.traces) is not None:
            find = self.streams.find
            model.scheduler.on_kept = lambda chunk: traces.kept(chunk, find(chunk.stream_id))
        service.metrics.report_service(self.alerts, service.webhooks, service.events)

    def stream_range(
        self, stream_id: str, span: TimeRange, *, between_blocks: bool = False
    ) -> tuple[float | None, float | None]:
        """Convert `span` to stream time; a bound of None is open.

        Clock times are converted by the capture times of the stream's blocks; with `between_blocks`
        the range also covers moments between blocks (see `moments_range`). Raises QuestionError for
        an invalid time, UnknownStreamError.
        """
        from_s, to_s = span.from_s, span.to_s
        if span.from_ is None and span.to is None:
            return from_s, to_s
        now = datetime.now(self.zone_of((stream_id,)))
        begin, end = parse_when(span.from_, now), parse_when(span.to, now)
        begin_at, end_at = (None if one is None else one.timestamp() for one in (begin, end))
        with self.streams.askable(stream_id) as stream, self.model.turn:
            range_of = moments_range if between_blocks else stream_range
            first_s, last_s = range_of(stream.memory, begin_at, end_at)
        if begin is not None:
            from_s = first_s if from_s is None else max(from_s, first_s)
        if end is not None:
            to_s = last_s if to_s is None else min(to_s, last_s)
        return from_s, to_s

    def zone_of(self, stream_ids: Iterable[str]) -> ZoneInfo:
        """Return the zone for times in words: that of these streams, or the service's if they have
        none or several.
        """
        own = {spec.timezone for one in stream_ids if (spec := self.streams.spec_of(one))}
        zone = own.pop() if len(own) == 1 else None
        return ZoneInfo(zone or self._service.settings.service.timezone)

    def close(self) -> None:
        self.recaps.close()
        self.alerts.close()
        self.streams.close()

    def _saw(self, keeper: Any, frame: Any) -> None:
        self._service.metrics.saw_frame(keeper.spec.id, frame)
        self.alerts.saw(keeper, frame)

    def _adopt(self, keeper: StreamKeeper) -> None:
        self.alerts.adopt(keeper)
        self.send_owed({keeper.spec.id})

    def _forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        self._service.webhooks.forget(stream_id, from_s, to_s)
        if self._service.answer_log is not None:
            self._service.answer_log.forget(stream_id, from_s, to_s)
        self._service.responses.forget_stretch(stream_id, from_s, to_s)

    def _release(self, keeper: StreamKeeper) -> None:
        self.alerts.release(keeper)
        self._service.metrics.forget(keeper.spec.id)

    def send_owed(self, stream_ids: Collection[str]) -> None:
        """Send the webhooks of these streams that another process still owed."""
        webhooks = self._service.webhooks
        try:
            owed = [one for one in webhooks.owed() if one.stream_id in stream_ids]
        except StoreError as error:
            _log.warning("owed webhooks cannot be read", reason=str(error))
            return
        actions = {one.id: one.actions for one in self._service.settings.recaps}
        actions |= {one.id: one.spec.actions for one in self.alerts.all()}
        for one in owed:
            if (delivery := one.delivery(actions.get(one.source, ()))) is not None:
                webhooks.send(delivery, one, is_noted=True)
            else:
                webhooks.settle(one)

    def _send_firing(self, fired: FiredAlert) -> None:
        alert, past = fired.alert, fired.past
        kind, of = f"{alert.spec.told_as}.fired", (alert.id, past.stream_id, past.at_s)
        document = pictured(fired.document, self._base)
        wants_picture = any(action.picture for action in alert.spec.actions)
        picture = self._picture_of(past) if wants_picture else None
        self._send(alert.spec.actions, kind, time.time(), document, of, picture)

    def _picture_of(self, past: PastFiring) -> str | None:
        """As a `data:` URL; None if it is gone."""
        try:
            with self.streams.askable(past.stream_id) as stream, self.model.turn:
                kept = picture_at(stream.memory, past.at_s)
        except (VStreamError, KVMemoryError) as error:
            _log.warning("webhook without picture", stream=past.stream_id, reason=str(error))
            return None
        return kept and f"data:image/jpeg;base64,{b64encode(kept.jpeg).decode()}"

    def send_recap(self, made: MadeRecap) -> None:
        """Send a recap to its webhooks."""
        document = {
            "recap_id": made.spec.id,
            "from": rfc3339(made.begin_at),
            "to": rfc3339(made.end_at),
            **RecapDocument.of(made.recap, made.zone).model_dump(by_alias=True),
        }
        for entry in document["data"]:
            entry["frame_url"] = self._base + entry["frame_url"]
        of = made.spec.id, made.stream_ids[0], None
        self._send(made.spec.actions, "recap.made", made.end_at, document, of)

    def _send(
        self,
        actions: Sequence[WebhookSpec],
        kind: str,
        at: float,
        document: dict[str, Any],
        of: tuple[str, str, float | None],
        picture: str | None = None,
    ) -> None:
        """`of` is the alert or recap, the stream, and its moment; see OwedWebhook. `picture` is for
        those that want it.
        """
        for action in actions:
            assert action.secret is not None, "setting the alert makes one; see RecapSpec"
            content = {**document, "picture": picture} if action.picture else document
            delivery = WebhookDelivery.of(action.url, action.secret, kind, at, content)
            self._service.webhooks.send(delivery, OwedWebhook.of_delivery(delivery, *of))


class StreamSearch:
    """Keeps the search index of each stream for as long as its memory object lives."""

    def __init__(self, streams: Streams, model: VideoLLM, layers: Sequence[int] | None) -> None:
        """Raises SettingsError for layers that the decoder does not have."""
        self._streams = streams
        self._search = MomentSearch(model, layers)
        self._added: dict[str, MemoryReader] = {}
        self._lock = ranked_lock(Rank.SEARCH)

    def search(
        self, words: str, top: int, spans: Mapping[str, tuple[float | None, float | None]]
    ) -> list[Moment]:
        """Find up to `top` moments of the streams in `spans`, each within its range, best first.
        Runs one search at a time. Raises UnknownStreamError, QuestionError, KVMemoryError.
        """
        with self._lock, ExitStack() as reading:
            for stream_id in spans:
                stream = reading.enter_context(self._streams.askable(stream_id))
                if self._added.get(stream_id) is not stream.memory:
                    self._search.add(stream_id, stream.memory)
                    self._added[stream_id] = stream.memory
            try:
                return self._search.search(words, top=top, spans=spans)
            finally:
                for stream_id in set(self._added) - set(spans):
                    if self._streams.find(stream_id) is None:
                        self._search.remove(stream_id)
                        del self._added[stream_id]
