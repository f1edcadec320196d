"""The HTTP service in a thread of the test's own process, on a free port of loopback."""

import functools
import threading
import time
from contextlib import contextmanager
from itertools import count

import httpx
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from app.client import ServiceClient
from app.server.application import create_app
from app.server.connections import listen_on
from app.server.keys import ApiKeys
from app.server.run import server_config
from app.server.service import Service
from app.server.settings import load_settings
from vstream import load_video_llm
from vstream.device.scheduler import Limits

IN_CLUSTER = []
"""What gives a store and the names of workers, where services are to be clusters."""


def endless(stream_id, **wishes):
    """A question whose answer takes about a minute: thousands of digits."""
    digits = {"type": "array", "items": {"type": "integer", "maximum": 9}, "minItems": 2000}
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}},
        {"type": "text", "text": "count"},
    ]
    return {
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 4096,
        "temperature": 1.0,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "digits", "schema": digits},
        },
        **wishes,
    }


class RunningService:
    """`url` is where it listens, `http` a client of it, `services` what it is made of: one, or in
    a cluster that of each worker, over the same model.
    """

    def __init__(self, services, url, key=None):
        self.services, self.service = services, services[0]
        self.url = url
        self.events = services[0] and services[0].events  # those that are listened to
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60)

    def end_events(self):
        """As where the service is about to end."""
        self.services[0].drain()

    def service_of(self, stream_id):
        """The one that watches the stream."""
        for one in self.services:
            if one.loaded.streams.find(stream_id) is not None:
                return one
        raise AssertionError(f"nobody watches {stream_id}")

    def alerts_on(self, stream_id):
        """What is judged on a stream, wherever it is watched."""
        return [
            alert
            for one in self.services
            for record in one.loaded.alerts.all()
            for keeper, alert in record.on_streams.items()
            if keeper.spec.id == stream_id
        ]

    def post(self, path, document=None, **options):
        """The answer's document; fails the test for an error."""
        return self._document(self.http.post(path, json=document, **options))

    def get(self, path, **options):
        return self._document(self.http.get(path, **options))

    def delete(self, path, **options):
        return self._document(self.http.delete(path, **options))

    def await_state(self, stream_id, *states, timeout_s=30):
        """The stream's document once it is in one of `states`."""
        return self.await_stream(stream_id, lambda told: told["state"] in states, timeout_s)

    def await_stream(self, stream_id, is_so, timeout_s=30):
        """The stream's document once `is_so` of it."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            told = self.get(f"/v1/streams/{stream_id}")
            if is_so(told):
                return told
            assert time.monotonic() < give_up_at, told
            time.sleep(0.05)

    def figure(self, name, **labels):
        """The value of one series of /metrics, in a cluster that of all workers together; None if
        there is none with these labels.
        """
        values = {}
        for family in text_string_to_metric_families(self.http.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    series = {**sample.labels, "worker": None}
                    values.setdefault(str(series), []).append(sample.value)
        return sum(next(iter(values.values()))) if values else None

    def ask(self, text, *streams, **wishes):
        """The whole answer, as /v1/chat/completions gives it."""
        parts = [{"type": "video_url", "video_url": {"url": url}} for url in streams]
        parts.append({"type": "text", "text": text})
        messages = [{"role": "user", "content": parts}]
        return self.post("/v1/chat/completions", {"messages": messages, **wishes})

    @staticmethod
    def _document(response):
        assert response.is_success, (response.status_code, response.text)
        return response.json()


@functools.cache
def embedded():
    """Loaded once by each process of tests."""
    return load_video_llm(None)


@contextmanager
def no_words(service):
    """Within it no answer gets more than its first word."""
    decoder, go_on, calls = service.service.loaded.model.decoder, threading.Event(), count()
    logits = decoder.logits
    decoder.logits = lambda hidden: (next(calls) and go_on.wait(60), logits(hidden))[1]
    try:
        yield
    finally:
        go_on.set()
        del decoder.logits


@contextmanager
def running_service(
    *,
    key=None,
    scoped=(),
    model=None,
    streams=(),
    store="memory://",
    source=None,
    memory=None,
    page=False,
    bounds=None,
    load=None,
    **service,
):
    """`service`: fields of ServiceConfig, `source` and `memory` of their sections. `model` is one
    that is loaded already, else embedded. With `page` its page is at /ui. `bounds` of connections.
    `load` gives the model in its own time: then the service need not be ready yet.
    """
    settings = load_settings(
        None,
        memory={"store": store, **(memory or {})},
        source=source or {},
        streams=list(streams),
        threads=1,
        service={"port": 0, "grace_s": 1, **service},
    )
    if IN_CLUSTER and not (page or load):
        from near_workers import near_cluster  # made of what stands here

        within = {"key": key, "scoped": scoped, "model": model, "source": source, "memory": memory}
        within["config"] = {"streams": list(streams)}
        with near_cluster(*IN_CLUSTER[0](store), bounds=bounds, **within, **service) as running:
            yield running
        return
    made = Service(settings, ApiKeys(key, scoped))
    if model is not None or settings.source.sample_fps is None:
        made._load_model = load or (lambda: model or embedded())
    listening = listen_on(settings.service.host, 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = create_app(made)
    if page:
        from app.ui import mount_page  # Gradio takes seconds to import

        app = mount_page(app, ServiceClient(url, key, made.page_token), made.keys)
    server = uvicorn.Server(server_config(made, app, bounds))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    running = RunningService([made], url, key)
    running.server = server
    try:
        give_up_at = time.monotonic() + 60
        while not load and running.http.get("/ready").status_code != 200:
            assert made.failure is None, made.failure
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        yield running
    finally:
        running.http.close()
        made.drain()
        server.should_exit = True
        thread.join(timeout=60)
        listening.close()
        if made._running is not None:  # other tests of this process use the same model
            made._running.model.scheduler.limits = Limits()
