"""The service keeps to its own reference: schemathesis asks for all that /openapi.json offers."""

import json
import re

import pytest
import schemathesis
from one_thing import thing_jpeg
from processes import Process
from prometheus_client.parser import text_string_to_metric_families
from service import running_service

KEY = "correct-horse-battery"
EXAMPLES = 8
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429"]
"""What a body that does not fit may be answered; it may also be too long to be looked at."""
NOT_REACHED = {("POST", "/v1/streams/probe")}
"""No source that is made up can be looked at: tests/app/server/test_access.py probes a real one."""


@pytest.fixture(scope="module")
def service():
    with running_service(
        key=KEY, max_body_bytes=1 << 20, request_bytes=1 << 20, requests_per_minute=10**6
    ) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        _push(running)
        running.await_stream("door", lambda told: told["memory"]["blocks"])
        yield running


@pytest.fixture(scope="module")
def reference(service):
    return service.get("/openapi.json")


def _push(service):
    headers = {"Content-Type": "image/jpeg"}
    service.http.post("/v1/streams/door/frames", content=thing_jpeg("owl"), headers=headers)


def test_all_that_the_reference_says_is_so(service, reference, tmp_path, monkeypatch):
    asked = service.post("/v1/responses", {"input": "what is there?"})
    alert = {"stream_ids": ["door"], "condition": "tell me when an owl is there"}
    there = {
        "stream_id": "door",
        "model": "default",
        "response_id": asked["id"],
        "alert_id": service.post("/v1/alerts", alert)["id"],
    }
    config = tmp_path / "schemathesis.toml"
    config.write_text(_config(there))
    words = [
        *("--config-file", config, "run"),
        *(f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--exclude-path", "/v1/events"),  # endless: tests/app/server/test_event_stream.py
        # What fits the schema may still make no sense, as a stream that is not there.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--phases", "coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES)),
        *("--seed", "1", "--generation-database", "none", "--no-color"),
    ]
    monkeypatch.chdir(tmp_path)
    ran = Process(*words, module="schemathesis.cli")
    assert ran.wait(550) == 0, "".join(ran.out)[-12_000:] + "".join(ran.err)[-2000:]

    described = schemathesis.openapi.from_dict(reference)
    for path, query in (
        ("/v1/responses/{response_id}", {}),
        ("/v1/alerts/{alert_id}", {}),
        ("/v1/streams/{stream_id}/memory", {"from_s": 0, "to_s": 1}),
        ("/v1/streams/{stream_id}", {"purge": True}),
    ):
        deleted = service.http.delete(path.format(**there), params=query)
        assert deleted.status_code == 200
        described[path]["DELETE"].validate_response(deleted)

    answered = _answers(service)
    failed = {one for one in answered if one[2] >= 500 and one[1] != "/ready"}
    assert not failed
    good = {(method, path) for method, path, status in answered if 200 <= status < 300}
    wanted = {
        (method.upper(), path) for path, ways in reference["paths"].items() for method in ways
    }
    assert wanted - good - {("GET", "/v1/events")} == NOT_REACHED


def test_what_an_event_stream_may_be_asked_is_as_the_reference_says(service):
    for query, headers in (("?stream_id=" + "x" * 101, {}), ("", {"Last-Event-ID": "soon"})):
        refused = service.http.get(f"/v1/events{query}", headers=headers)
        assert refused.status_code in (400, 422)
        assert refused.json()["error"]["type"] == "invalid_request_error"
    with service.http.stream("GET", "/v1/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")


def test_the_reference_can_be_read(reference):
    ids = []
    for path, ways in reference["paths"].items():
        for way, about in ways.items():
            ids.append(about["operationId"])
            assert about["description"][-1] == ".", (way, path)
            assert re.fullmatch(r"[A-Z][a-z]+( [a-z]+)*", about["summary"]), (way, path)
            is_public = path in ("/health", "/ready", "/version", "/metrics")
            assert ("security" in about) is not is_public, (way, path)
    assert len(ids) == len(set(ids))
    for name in ("ChatRequest", "ResponseRequest", "StreamSpec"):
        assert reference["components"]["schemas"][name]["examples"], name


def _config(there):
    """What stands for the ids in paths; what is deleted is not what others are asked about."""
    lines = [
        "[checks.negative_data_rejection]",
        f"expected-statuses = {json.dumps(REFUSED)}",
        "[parameters]",
        *(f'"path.{name}" = {json.dumps(there[name])}' for name in there),
    ]
    for path in ("streams/{stream_id}", "responses/{response_id}", "alerts/{alert_id}"):
        name = path[path.index("{") + 1 : -1]
        lines += [
            "[[operations]]",
            f'include-name = "DELETE /v1/{path}"',
            "[operations.parameters]",
            f'"path.{name}" = "gone"',
        ]
    return "\n".join(lines)


def _answers(service):
    """Method, path and status of what has been answered."""
    found = set()
    for family in text_string_to_metric_families(service.http.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "vstream_http_requests_total":
                labels = sample.labels
                path = labels["route"].replace(":path}", "}")
                found.add((labels["method"], path, int(labels["status"])))
    return found
