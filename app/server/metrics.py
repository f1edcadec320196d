"""Metrics: what the service does in, Prometheus's text out.

Names and buckets are vLLM's where it has the same figure, with the prefix `vstream_`. Figures of
streams are read when they are asked for; what passes by is counted as it passes.
"""

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vstream.device.scheduler import Round
from vstream.ingest import SeenFrame
from vstream.models.video_llm import VideoLLM
from vstream.service.event_log import EventLog
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_status import STORE_AWAY, StreamState
from vstream.service.watches import Watches, WatchRecord
from vstream.service.webhook import WebhookSender

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
Keepers = Callable[[], Sequence[StreamKeeper]]
"""The streams that there are now."""


class Metrics:
    """One registry of its own: several services may live in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(namespace="vstream", registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._requests = counter(
            "vstream_http_requests",
            "HTTP requests answered.",
            ["method", "route", "status"],
        )
        self._refused = counter(
            "vstream_requests_refused",
            "Questions that were not taken on.",
            ["reason"],
        )
        self._first_token = histogram(
            "vstream_time_to_first_token_seconds",
            "From the question to the first token of its answer.",
            buckets=_SECONDS,
        )
        self._whole = histogram(
            "vstream_e2e_request_latency_seconds",
            "From the question to the end of its answer.",
            buckets=_SECONDS,
        )
        self._between = histogram(
            "vstream_inter_token_latency_seconds",
            "Between two tokens of an answer, on average over the answer.",
            buckets=_FAST,
        )
        self._tokens = counter("vstream_generation_tokens", "Tokens of answers.")
        self._finished = counter(
            "vstream_request_success",
            "Answers that came to their end, by how.",
            ["finished_reason"],
        )
        self._capture_to_memory = histogram(
            "vstream_capture_to_memory_seconds",
            "From the capture of a frame until it can be asked about.",
            ["stream_id"],
            buckets=_SECONDS,
        )
        self._round = histogram(
            "vstream_scheduler_round_seconds",
            "One round of the device.",
            buckets=_FAST,
        )
        self._batch = histogram(
            "vstream_scheduler_batch_size",
            "Works that shared a round, by kind.",
            ["kind"],
            buckets=_COUNTS,
        )
        self._fired = counter(
            "vstream_watch_fired", "Firings of watches.", ["stream_id"], registry=registry
        )
        self._up = Gauge("vstream_up", "1 once the model is loaded.", registry=registry)

    def text(self) -> tuple[bytes, str]:
        """What /metrics answers, and its media type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def tell_of_streams(self, model: VideoLLM, keepers: Keepers) -> None:
        """Read the figures of these streams and their model from now on."""
        self._up.set(1)
        model.scheduler.on_round = self._saw_round
        self.registry.register(_Streams(model, keepers))

    def tell_of_service(self, watches: Watches, webhooks: WebhookSender, events: EventLog) -> None:
        """Read the figures of these watches, webhooks and events from now on."""
        self.registry.register(_Service(watches, webhooks, events))

    def saw_request(self, method: str, route: str, status: int) -> None:
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def answered(self, ttft_s: float, total_s: float, tokens: int, reason: str) -> None:
        """An answer has come to its end, by `reason`: stop or length."""
        self._finished.labels(reason).inc()
        self._tokens.inc(tokens)
        self._first_token.observe(ttft_s)
        self._whole.observe(total_s)
        if tokens > 1:
            self._between.observe((total_s - ttft_s) / (tokens - 1))

    def cancelled(self) -> None:
        """An answer was cut off: its client went away, or the service."""
        self._finished.labels("cancelled").inc()

    def saw_frame(self, stream_id: str, frame: SeenFrame) -> None:
        """It can be asked about now."""
        age_s = max(0.0, time.time() - frame.captured_at)
        self._capture_to_memory.labels(stream_id).observe(age_s)

    def _saw_round(self, done: Round) -> None:
        if any(done.works.values()):  # not where blocks were put into their memories, no more
            self._round.observe(done.seconds)
        for kind, count in done.works.items():
            if count:
                self._batch.labels(kind.value).observe(count)

    def forget(self, stream_id: str) -> None:
        """It is deleted: what was counted of it would stay for ever, and ids are made up freely."""
        for metric in (self._capture_to_memory, self._fired):
            with suppress(KeyError):
                metric.remove(stream_id)

    def watch_fired(self, stream_id: str) -> None:
        self._fired.labels(stream_id).inc()


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class _Streams(Collector):
    """Looks at streams and the scheduler when it is asked."""

    def __init__(self, model: VideoLLM, keepers: Keepers) -> None:
        self._model = model
        self._keepers = keepers

    def describe(self) -> list[Metric]:
        """Nothing: the figures depend on what there is."""
        return []

    def collect(self) -> Iterator[Metric]:
        keepers, model = self._keepers(), self._model
        yield from _of_streams(keepers)
        yield from _of_memories(keepers)
        about = GaugeMetricFamily(
            "vstream_model", "1 for the model that answers.", labels=["model", "fingerprint"]
        )
        about.add_metric([model.name, model.fingerprint], 1)
        yield about
        scheduler = model.scheduler
        yield _gauge(
            "vstream_num_requests_running", "Answers being decoded.", scheduler.num_running
        )
        yield _gauge("vstream_num_requests_waiting", "Questions waiting.", scheduler.num_waiting)
        problems = [keeper.status.problem for keeper in keepers]
        away = any(problem is not None and problem.code == STORE_AWAY for problem in problems)
        yield _gauge("vstream_store_up", "0 while the store takes no blocks.", float(not away))


class _Service(Collector):
    """Looks at watches, webhooks and events when it is asked."""

    def __init__(self, watches: Watches, webhooks: WebhookSender, events: EventLog) -> None:
        self._watches = watches
        self._webhooks = webhooks
        self._events = events

    def describe(self) -> list[Metric]:
        """As of _Streams."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _of_watches(self._watches.all())
        sent = self._webhooks.counts
        delivered = CounterMetricFamily(
            "vstream_webhook_deliveries", "Webhooks, by outcome.", labels=["outcome"]
        )
        delivered.add_metric(["delivered"], sent.delivered)
        delivered.add_metric(["failed"], sent.failed)
        delivered.add_metric(["dropped"], sent.dropped)
        yield delivered
        missed = CounterMetricFamily(
            "vstream_events_missed", "Events that slow listeners did not get."
        )
        missed.add_metric([], self._events.num_missed)
        yield missed


def _of_streams(keepers: Sequence[StreamKeeper]) -> Iterator[Metric]:
    by_stream = ["stream_id"]
    up = GaugeMetricFamily("vstream_stream_up", "1 while frames come.", labels=by_stream)
    state = GaugeMetricFamily(
        "vstream_stream_state", "1 for the state it is in.", labels=["stream_id", "state"]
    )
    age = GaugeMetricFamily(
        "vstream_stream_last_frame_age_seconds", "Age of the newest frame.", labels=by_stream
    )
    frames = CounterMetricFamily(
        "vstream_stream_frames", "Frames, by how far they came.", labels=["stream_id", "stage"]
    )
    dropped = CounterMetricFamily(
        "vstream_stream_frames_dropped", "Frames left out, and why.", labels=["stream_id", "reason"]
    )
    reconnects = CounterMetricFamily(
        "vstream_stream_reconnects", "Connections made anew.", labels=by_stream
    )
    errors = GaugeMetricFamily(
        "vstream_stream_error", "1 for what is wrong now.", labels=["stream_id", "code"]
    )
    for keeper in keepers:
        name, status = keeper.spec.id, keeper.status
        up.add_metric([name], float(status.state is StreamState.RUNNING))
        for one in StreamState:
            state.add_metric([name, one.value], float(status.state is one))
        if status.last_frame_age_s is not None:
            age.add_metric([name], status.last_frame_age_s)
        counts = status.counts
        for stage, count in (
            ("received", counts.frames_received),
            ("sampled", status.frames_sampled),
            ("encoded", status.frames_encoded),
        ):
            frames.add_metric([name, stage], count)
        for reason, count in (
            ("stale", counts.frames_stale),
            ("corrupt", counts.frames_corrupt),
            ("duplicate", status.frames_duplicate),
            ("rate", counts.frames_not_wanted),
        ):
            dropped.add_metric([name, reason], count)
        reconnects.add_metric([name], counts.reconnects)
        if status.problem is not None:
            errors.add_metric([name, status.problem.code], 1)
    yield from (up, state, age, frames, dropped, reconnects, errors)


def _of_memories(keepers: Sequence[StreamKeeper]) -> Iterator[Metric]:
    num_bytes = GaugeMetricFamily(
        "vstream_memory_bytes", "Encoded blocks, by tier.", labels=["stream_id", "tier"]
    )
    seconds = GaugeMetricFamily(
        "vstream_memory_seconds",
        "Stream time that they stand for, by tier.",
        labels=["stream_id", "tier"],
    )
    blocks = GaugeMetricFamily(
        "vstream_memory_blocks", "Blocks that can be asked about.", labels=["stream_id"]
    )
    waiting = GaugeMetricFamily(
        "vstream_memory_waiting_blocks",
        "Blocks that the store has not acknowledged.",
        labels=["stream_id"],
    )
    for keeper in keepers:
        memory, name = keeper.session.memory, keeper.spec.id
        for tier, count in memory.bytes_by_tier().items():
            num_bytes.add_metric([name, tier], count)
        for tier, covered_s in memory.seconds_by_tier().items():
            seconds.add_metric([name, tier], covered_s)
        blocks.add_metric([name], memory.num_readable)
        waiting.add_metric([name], memory.num_blocks - memory.num_acknowledged)
    yield from (num_bytes, seconds, blocks, waiting)


def _of_watches(records: list[WatchRecord]) -> Iterator[Metric]:
    by_stream = ["stream_id"]
    judged = CounterMetricFamily(
        "vstream_watch_judgements", "Judgements of watches that are set.", labels=by_stream
    )
    skipped = CounterMetricFamily(
        "vstream_watch_skipped", "Ticks of such watches that went by unjudged.", labels=by_stream
    )
    counts: Counts[str] = Counts()
    ticks: Counts[str] = Counts()
    for record in records:
        for keeper, watch in record.on_streams.items():
            counts[keeper.spec.id] += watch.num_judged
            ticks[keeper.spec.id] += watch.num_skipped
    for stream_id in counts:
        judged.add_metric([stream_id], counts[stream_id])
        skipped.add_metric([stream_id], ticks[stream_id])
    yield from (judged, skipped)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)
