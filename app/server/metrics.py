"""Metrics: measure what the service does, for Prometheus.

Names and buckets are vLLM's where it has the same metric, with the prefix `vstream_`. The state of
streams is read on each scrape; events are counted as they happen.
"""

import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

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

from app.server.documents import dropped_of, frames_of
from memory import KVMemory
from vstream.device.scheduler import Round
from vstream.ingest import SeenFrame
from vstream.models.video_llm import VideoLLM
from vstream.question import Answer
from vstream.search.finding import Finding
from vstream.service.alerts import Alerts
from vstream.service.event_log import EventLog
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_status import STORE_AWAY, StreamState, StreamStatus
from vstream.service.webhook import WebhookSender

_OLD = "The name of {} before 0.3."
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64)
Keepers = Callable[[], Sequence[StreamKeeper]]
"""Returns the current streams."""


class Metrics:
    """Uses a registry of its own, since one process may hold several services."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(namespace="vstream", registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._requests = counter(
            "vstream_http_requests", "HTTP requests answered.", ["method", "route", "status"]
        )
        self.refused = counter(
            "vstream_requests_refused", "Questions that were refused.", ["reason"]
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
        self.finished = counter(
            "vstream_request_success",
            "Finished answers, by how they ended.",
            ["finished_reason"],
        )
        self._capture_to_memory = histogram(
            "vstream_capture_to_memory_seconds",
            "From the capture of a frame until it can be asked about.",
            ["stream_id"],
            buckets=_SECONDS,
        )
        self._find = histogram("vstream_find_seconds", "Duration of a find.", buckets=_SECONDS)
        self._find_spans = counter("vstream_find_spans", "Spans found.")
        self._find_blocks = counter(
            "vstream_find_blocks",
            "Blocks that a find needed judged: made by the model, or known before.",
            ["judgement"],
        )
        self._fired = [
            counter("vstream_alert_fired", "Firings of alerts.", ["stream_id"]),
            counter("vstream_watch_fired", _OLD.format("vstream_alert_fired"), ["stream_id"]),
        ]
        self._up = Gauge("vstream_up", "1 once the model is loaded.", registry=registry)
        self._add_device(histogram)

    def _add_device(self, histogram: "partial[Histogram]") -> None:
        """Add metrics of the device's work and of the wait for it."""
        self._round = histogram(
            "vstream_scheduler_round_seconds", "One round of the device.", buckets=_FAST
        )
        self._queue = histogram(
            "vstream_request_queue_time_seconds",
            "From queueing work for the device to its turn, by kind.",
            ["kind"],
            buckets=_FAST,
        )
        self._encode = histogram(
            "vstream_encode_seconds",
            "Encoding a chunk of frames into blocks, from its turn on.",
            buckets=_FAST,
        )
        self._retrieve = histogram(
            "vstream_retrieve_seconds",
            "Retrieving a question's blocks, in all layers.",
            buckets=_FAST,
        )
        self._batch = histogram(
            "vstream_scheduler_batch_size",
            "Pieces of work that shared a round, by kind.",
            ["kind"],
            buckets=_COUNTS,
        )

    def text(self) -> tuple[bytes, str]:
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def report_streams(self, model: VideoLLM, keepers: Keepers) -> None:
        """Report the state of these streams and their model from now on."""
        self._up.set(1)
        model.scheduler.on_round = self._saw_round
        self.registry.register(_Read(lambda: _of_all(model, keepers())))

    def report_service(self, alerts: Alerts, webhooks: WebhookSender, events: EventLog) -> None:
        """Report the state of these alerts, webhooks and events from now on."""
        self.registry.register(_Read(lambda: _of_service(alerts, webhooks, events)))

    def saw_firing(self, stream_id: str) -> None:
        for counter in self._fired:
            counter.labels(stream_id).inc()

    def saw_request(self, method: str, route: str, status: int) -> None:
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()

    def answered(self, answer: Answer) -> None:
        ttft_s, total_s = answer.timings_ms.ttft / 1000, answer.timings_ms.total / 1000
        num_tokens = len(answer.token_ids)
        self.finished.labels("length" if answer.truncated else "stop").inc()
        self._tokens.inc(num_tokens)
        self._first_token.observe(ttft_s)
        if answer.timings_ms.retrieve is not None:
            self._retrieve.observe(answer.timings_ms.retrieve / 1000)
        self._whole.observe(total_s)
        if num_tokens > 1:
            self._between.observe((total_s - ttft_s) / (num_tokens - 1))

    def found(self, finding: Finding) -> None:
        """Count a find. One that its client abandoned has neither seconds nor spans."""
        self._find_blocks.labels("made").inc(finding.judged)
        self._find_blocks.labels("known").inc(finding.known)
        if finding.seconds:
            self._find.observe(finding.seconds)
            self._find_spans.inc(len(finding.spans))

    def saw_frame(self, stream_id: str, frame: SeenFrame) -> None:
        age_s = max(0.0, time.time() - frame.captured_at)
        self._capture_to_memory.labels(stream_id).observe(age_s)

    def _saw_round(self, done: Round) -> None:
        if any(done.works.values()):  # skip rounds that only stored finished blocks
            self._round.observe(done.seconds)
        for kind, waited_s in done.waited:
            self._queue.labels(kind.value).observe(waited_s)
        for took_s in done.encoded_s:
            self._encode.observe(took_s)
        for kind, count in done.works.items():
            if count:
                self._batch.labels(kind.value).observe(count)

    def forget(self, stream_id: str) -> None:
        """Drop the metrics of a deleted stream, or its labels would pile up."""
        for metric in (self._capture_to_memory, *self._fired):
            with suppress(KeyError):
                metric.remove(stream_id)


_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class _Read(Collector):
    """Metrics that are read on each scrape."""

    def __init__(self, read: Callable[[], Iterator[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        return self._read()

    def describe(self) -> list[Metric]:
        """Describe nothing: the metrics depend on the streams there are."""
        return []


Figures = Mapping[Any, float]
"""Values of a metric, by tuples of label values."""


def _gauge(name: str, about: str, figures: Figures, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, about, labels=labels), figures)


def _counter(name: str, about: str, figures: Figures, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, about, labels=labels), figures)


def _filled(metric: GaugeMetricFamily | CounterMetricFamily, figures: Figures) -> Metric:
    for values, figure in figures.items():
        metric.add_metric(values, figure)
    return metric


def _of_all(model: VideoLLM, keepers: Sequence[StreamKeeper]) -> Iterator[Metric]:
    statuses = {one.spec.id: one.status for one in keepers}
    yield from _of_streams(statuses)
    yield from _of_memories({one.spec.id: one.session.memory for one in keepers})
    info = {(model.name, model.fingerprint): 1}
    yield _gauge("vstream_model", "1 for the loaded model.", info, "model", "fingerprint")
    running, waiting = model.scheduler.num_running, model.scheduler.num_waiting
    yield _gauge("vstream_num_requests_running", "Answers being decoded.", {(): running})
    yield _gauge("vstream_num_requests_waiting", "Questions waiting.", {(): waiting})
    away = any(one.problem and one.problem.code == STORE_AWAY for one in statuses.values())
    yield _gauge("vstream_store_up", "0 while the store takes no blocks.", {(): not away})


def _of_service(alerts: Alerts, webhooks: WebhookSender, events: EventLog) -> Iterator[Metric]:
    judged: Counts[tuple[str, ...]] = Counts()
    skipped: Counts[tuple[str, ...]] = Counts()
    for record in alerts.all():
        for keeper, alert in record.on_streams.items():
            judged[keeper.spec.id,] += alert.num_judged
            skipped[keeper.spec.id,] += alert.num_skipped
    about = "Judgements made for alerts."
    yield _counter("vstream_alert_judgements", about, judged, "stream_id")
    about = _OLD.format("vstream_alert_judgements")
    yield _counter("vstream_watch_judgements", about, judged, "stream_id")
    about = "Judgements that alerts skipped."
    yield _counter("vstream_alert_skipped", about, skipped, "stream_id")
    about = _OLD.format("vstream_alert_skipped")
    yield _counter("vstream_watch_skipped", about, skipped, "stream_id")
    counts = webhooks.counts
    sent = {(name,): getattr(counts, name) for name in ("delivered", "failed", "dropped")}
    yield _counter("vstream_webhook_deliveries", "Webhooks, by outcome.", sent, "outcome")
    about = "Events that slow clients missed."
    yield _counter("vstream_events_missed", about, {(): events.num_missed})


def _of_streams(statuses: Mapping[str, StreamStatus]) -> Iterator[Metric]:
    each = statuses.items()
    up = {(name,): one.state is StreamState.RUNNING for name, one in each}
    yield _gauge("vstream_stream_up", "1 while frames come.", up, "stream_id")
    states = {
        (name, state.value): one.state is state for name, one in each for state in StreamState
    }
    about = "1 for the state it is in."
    yield _gauge("vstream_stream_state", about, states, "stream_id", "state")
    ages = {(name,): one.last_frame_age_s for name, one in each if one.last_frame_age_s is not None}
    about = "Age of the newest frame."
    yield _gauge("vstream_stream_last_frame_age_seconds", about, ages, "stream_id")
    frames = {(name, stage): n for name, one in each for stage, n in frames_of(one).items()}
    about = "Frames, by the stage they reached."
    yield _counter("vstream_stream_frames", about, frames, "stream_id", "stage")
    dropped = {(name, reason): n for name, one in each for reason, n in dropped_of(one).items()}
    about = "Frames dropped, by reason."
    yield _counter("vstream_stream_frames_dropped", about, dropped, "stream_id", "reason")
    reconnects = {(name,): one.counts.reconnects for name, one in each}
    about = "Reconnections to the source."
    yield _counter("vstream_stream_reconnects", about, reconnects, "stream_id")
    errors = {(name, one.problem.code): 1 for name, one in each if one.problem is not None}
    yield _gauge("vstream_stream_error", "1 for the current error.", errors, "stream_id", "code")


def _of_memories(memories: Mapping[str, KVMemory]) -> Iterator[Metric]:
    kept = memories.items()
    sizes = {(name, tier): n for name, one in kept for tier, n in one.bytes_by_tier().items()}
    yield _gauge("vstream_memory_bytes", "Encoded blocks, by tier.", sizes, "stream_id", "tier")
    spans = {(name, tier): s for name, one in kept for tier, s in one.seconds_by_tier().items()}
    about = "Stream time that the blocks cover, by tier."
    yield _gauge("vstream_memory_seconds", about, spans, "stream_id", "tier")
    readable = {(name,): one.num_readable for name, one in kept}
    about = "Blocks that can be asked about."
    yield _gauge("vstream_memory_blocks", about, readable, "stream_id")
    waiting = {(name,): one.num_blocks - one.num_acknowledged for name, one in kept}
    about = "Blocks that the store has not acknowledged."
    yield _gauge("vstream_memory_waiting_blocks", about, waiting, "stream_id")
