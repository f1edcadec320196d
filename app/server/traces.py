"""Traces: tell an OpenTelemetry collector what became of questions and frames.

    question                from when it was asked to its last token; a part of the caller's trace,
      prefill               if its request names one. Until the first token, with any wait for the
        retrieve            device. While layers choose blocks
      decode                from the first token on
    frame                   from its capture until it can be asked about; the newest of each block
      capture               until it gets its turn on the device; not of recordings
      encode, store         until its keys and values are there; until they are in the memory

Spans are made afterwards, from times that are measured anyway. They hold ids, times and counts, but
no words, keys or addresses.
"""

import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog

from vstream.engine.prefill import Chunk
from vstream.service.inquiry import StreamAnswer
from vstream.service.stream_keeper import StreamKeeper

if TYPE_CHECKING:
    from opentelemetry.context import Context

_log = structlog.get_logger()
_COLLECTOR = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def open_traces() -> "Traces | None":
    """Return where spans go if the environment names a collector, else None."""
    is_wanted = any(os.environ.get(name) for name in _COLLECTOR)
    if not is_wanted or os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    try:
        return Traces()
    except ImportError as error:
        _log.warning("no traces: pip install 'vstream[otel]'", reason=str(error))
        return None


class Traces:
    """Sends spans as the variables OTEL_* say. Safe from any thread, and waits for no collector."""

    def __init__(self) -> None:
        """Raises ImportError."""
        from opentelemetry import propagate, trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        own = Resource.create({"service.name": "vstream"})
        self.provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()))
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer("vstream", version("vstream"))
        self._extract, self._within = propagate.extract, trace.set_span_in_context

    def of_request(self, headers: Mapping[str, str]) -> "Context":
        """Return the trace that a request says it belongs to, as in `traceparent`."""
        return self._extract(headers)

    def answered(self, model: str, one: StreamAnswer) -> None:
        answer, times = one.answer, one.answer.timings_ms
        asker = answer.question.asker

        def at(milliseconds: float) -> float:
            return times.asked_at + milliseconds / 1000

        about = {
            "vstream.stream_id": one.stream_id,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": model,
            "gen_ai.usage.input_tokens": answer.context_tokens,
            "gen_ai.usage.output_tokens": len(answer.token_ids),
            "gen_ai.response.finish_reasons": ("length" if answer.truncated else "stop",),
        }
        caller = None if asker is None else asker.trace
        whole = self._span("question", at(0), at(times.total), caller, about)
        if times.retrieved is not None:  # else the words were made of spans, all at once
            prefill = self._span("prefill", at(0), at(times.ttft), whole)
            began, ended = times.retrieved
            self._span("retrieve", at(began), at(ended), prefill)
            self._span("decode", at(times.ttft), at(times.total), whole)

    def kept(self, chunk: Chunk, keeper: StreamKeeper | None) -> None:
        """Take a chunk that is in the memory by now; `keeper` watches its stream."""
        if keeper is None:  # pictures of a request
            return
        stored_at = time.time()
        for frame in chunk.newest:
            is_live = not keeper.spec.is_recording
            seen_at = min(frame.captured_at, chunk.began_at) if is_live else chunk.began_at
            about = {"vstream.stream_id": keeper.spec.id, "vstream.stream_s": frame.stream_s}
            whole = self._span("frame", seen_at, stored_at, None, about)
            if is_live:
                self._span("capture", seen_at, chunk.began_at, whole)
            self._span("encode", chunk.began_at, chunk.encoded_at, whole)
            self._span("store", chunk.encoded_at, stored_at, whole)

    def _span(
        self,
        name: str,
        from_at: float,
        to_at: float,
        within: "Context | None",
        about: Mapping[str, Any] | None = None,
    ) -> "Context":
        """Make a span between two Unix times; return the context of its children."""
        span = self._tracer.start_span(
            name, within, attributes=about, start_time=int(from_at * 1e9)
        )
        span.end(int(to_at * 1e9))
        return self._within(span)
