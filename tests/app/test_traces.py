"""Traces of the live service: the SDK's own exporters take what it tells, in memory and by OTLP."""

import base64
import json
import os
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from loopback_http import loopback_http
from near_workers import near_cluster
from one_thing import thing_jpeg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from service import embedded, running_service
from structlog.testing import capture_logs
from websockets.sync.client import connect

from app.server.traces import open_traces

KEY = "open-sesame-open-sesame"
ASKED = "is the sesame there?"
AT = 1_700_000_000.0
CALLING = 0x00F067AA0BA902B7
WAYS = ("whole", "streamed", "response", "realtime")
TRACE_OF = {how: 16**30 + number for number, how in enumerate(WAYS)}
QUESTION = [("question", [("prefill", [("retrieve", [])]), ("decode", [])])]


def traced(how):
    """The header of a request that belongs to a trace."""
    return {"traceparent": f"00-{TRACE_OF[how]:032x}-{CALLING:016x}-01"}


def ask(running, how, headers):
    if how == "realtime":
        return ask_in_realtime(running, headers)
    path, body = "chat/completions", {"messages": [{"role": "user", "content": ASKED}]}
    if how == "response":
        path, body = "responses", {"input": ASKED}
    body["stream"] = how == "streamed"
    answer = running.http.post(f"/v1/{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return None


def ask_in_realtime(running, headers):
    url = f"{running.url.replace('http', 'ws')}/v1/realtime?stream=door"
    headers = {**headers, "Authorization": running.http.headers["Authorization"]}
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]}
    with connect(url, additional_headers=headers) as socket:
        socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        socket.send(json.dumps({"type": "response.create"}))
        while json.loads(socket.recv(60))["type"] != "response.done":
            continue


def push_frames(running):
    running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
    for number in range(2):
        headers = {"X-Capture-Time": str(AT + number)}
        jpeg = thing_jpeg("owl", (1 + number) / 3)
        running.http.post("/v1/streams/door/frames", content=jpeg, headers=headers)
        running.await_stream("door", lambda told: told["memory"]["blocks"] > number)  # noqa: B023


def ask_about_a_picture(running):
    url = f"data:image/jpeg;base64,{base64.b64encode(thing_jpeg('owl')).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": ASKED}]
    running.post("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})


@dataclass
class Told:
    spans: tuple
    """In memory."""
    bodies: list[bytes]
    """By OTLP."""

    def of_trace(self, trace_id):
        return [one for one in self.spans if one.context.trace_id == trace_id]

    def named(self, name):
        return [one for one in self.spans if one.name == name]


@pytest.fixture(scope="module")
def collector():
    with loopback_http(lambda request: (200, {}, b"")) as server:
        yield server


@pytest.fixture(scope="module")
def environment(collector):
    """That of the service; the model's scheduler outlives it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=home")
        scheduler = embedded().scheduler
        patch.setattr(scheduler, "on_kept", scheduler.on_kept)
        yield patch


@contextmanager
def in_memory(running):
    """Gives the spans of a service once it has ended."""
    exporter, providers = InMemorySpanExporter(), [one.traces.provider for one in running.services]
    for one in providers:
        one.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter.get_finished_spans
    for one in providers:
        one.shutdown()


@pytest.fixture(scope="module")
def told(environment, collector):
    """Of a service that saw two frames and answered five questions, the last about a picture."""
    with running_service(model=embedded(), key=KEY) as running, in_memory(running) as spans:
        running.http.headers["Authorization"] = f"Bearer {KEY}"
        push_frames(running)
        for how in WAYS:
            ask(running, how, traced(how))
        ask_about_a_picture(running)
    return Told(spans(), [one.body for one in collector.requests])


def tree(spans, parent=None):
    """Names, each with what is in it, in the order in which they begin."""
    own = [one for one in spans if (one.parent and one.parent.span_id) == parent]
    own.sort(key=lambda one: one.start_time)
    return [(one.name, tree(spans, one.context.span_id)) for one in own]


def by_name(spans, *names):
    return [next(one for one in spans if one.name == name) for name in names]


def test_a_frame_is_captured_encoded_and_stored(told):
    """A picture of a request is not told of."""
    frames = told.named("frame")
    assert len(frames) == 2
    for number, frame in enumerate(frames):
        stages = told.of_trace(frame.context.trace_id)
        assert tree(stages) == [("frame", [("capture", []), ("encode", []), ("store", [])])]
        capture, encode, store = by_name(stages, "capture", "encode", "store")
        assert frame.start_time == capture.start_time == (AT + number) * 1e9
        assert capture.end_time == encode.start_time < encode.end_time == store.start_time
        assert store.start_time < store.end_time == frame.end_time
        assert frame.attributes == {"vstream.stream_id": "door", "vstream.stream_s": float(number)}


@pytest.mark.parametrize("how", WAYS)
def test_a_question_belongs_to_the_trace_of_its_request(told, how):
    spans = told.of_trace(TRACE_OF[how])
    assert tree(spans, CALLING) == QUESTION
    names = ("question", "prefill", "retrieve", "decode")
    question, prefill, retrieve, decode = by_name(spans, *names)
    assert question.start_time == prefill.start_time < retrieve.start_time < retrieve.end_time
    assert retrieve.end_time < prefill.end_time == decode.start_time
    assert decode.end_time == question.end_time
    assert question.attributes["vstream.stream_id"] == "door"
    assert question.attributes["gen_ai.request.model"] == "embedded"
    assert question.attributes["gen_ai.usage.output_tokens"] > 0
    assert question.attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_a_question_without_a_trace_begins_one(told):
    """Even about a picture, which belongs to no stream."""
    (question,) = [one for one in told.named("question") if one.parent is None]
    assert question.attributes["vstream.stream_id"] == "(request)"
    assert tree(told.of_trace(question.context.trace_id)) == QUESTION


def test_a_collector_gets_the_same_and_no_secret(told):
    batches = [ExportTraceServiceRequest.FromString(body) for body in told.bodies]
    resources = [one for batch in batches for one in batch.resource_spans]
    sent = [span.name for one in resources for scope in one.scope_spans for span in scope.spans]
    assert Counter(sent) == Counter(span.name for span in told.spans)
    about = {one.key: one.value.string_value for one in resources[0].resource.attributes}
    assert about["service.name"] == "vstream"
    assert about["deployment.environment.name"] == "home"
    assert not any(b"sesame" in body for body in told.bodies)
    names = {name for span in told.spans for name in span.attributes}
    assert {name for name in names if not name.startswith("gen_ai.")} == {
        "vstream.stream_id",
        "vstream.stream_s",
    }


def test_a_caller_decides_what_is_sampled_also_through_an_ingress(environment, running_redis):
    environment.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with running_redis.client() as client:
        client.flushall()
    with near_cluster(running_redis.url) as running, in_memory(running) as spans:
        push_frames(running)
        for headers in ({}, traced("whole")):
            ask(running, "whole", headers)
    assert tree(spans(), CALLING) == QUESTION
    assert len(spans()) == 4


def test_without_a_collector_or_the_extra_there_are_no_traces(monkeypatch):
    for name in [one for one in os.environ if one.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with capture_logs() as logged:
        assert open_traces() is None
        assert not logged
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")
        assert open_traces() is None
        assert [one["event"] for one in logged] == ["no traces: pip install 'vstream[otel]'"]
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        assert open_traces() is None
        assert len(logged) == 1
