"""What is too much is refused with what to do, and who goes away is worked for no longer."""

import json
import threading
from contextlib import ExitStack, contextmanager, suppress

import httpx
import openai
import pytest
from one_thing import thing_jpeg
from processes import until
from service import running_service
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from app.client import ServiceClient, ServiceError
from vstream.decoding.grammar import MAX_SCHEMA_BYTES

QUESTION = "what do you see now?"
ENDLESS = {
    "max_tokens": 4000,
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "endless",
            "schema": {"type": "array", "items": {"enum": ["owl", "cat"]}, "minItems": 4000},
        },
    },
}
"""Nobody waits for the end of an answer of this shape."""
MOST_BYTES = 1 << 20


@pytest.fixture(scope="module")
def service():
    with running_service(
        max_running=1, max_waiting=1, max_body_bytes=MOST_BYTES, request_bytes=MOST_BYTES
    ) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        running.http.post("/v1/streams/door/frames", content=thing_jpeg("owl"))
        running.await_stream("door", lambda told: told["memory"]["blocks"])
        yield running
        assert _scheduler(running).num_running == 0


@contextmanager
def answering(service, **wishes):
    """An answer without end that has begun to come; leaving it hangs up."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with (
        httpx.Client(base_url=service.url, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json={**body, **ENDLESS, **wishes}) as reply,
    ):
        lines = reply.iter_lines()
        next(line for line in lines if '"content": "' in line and '"content": ""' not in line)
        yield lines


def _scheduler(service):
    return service.service.loaded.model.scheduler


def _is_idle(service):
    return _scheduler(service).num_running == _scheduler(service).num_waiting == 0


def test_a_full_queue_refuses_the_next_and_says_when_to_come_back(service):
    waited = []
    with ExitStack() as answers:
        answers.enter_context(answering(service))
        waiting = threading.Thread(target=lambda: waited.append(service.ask(QUESTION)))
        waiting.start()
        until(lambda: _scheduler(service).num_waiting == 1)
        body = {"messages": [{"role": "user", "content": QUESTION}]}
        for path, more in (
            ("/v1/chat/completions", {}),
            ("/v1/chat/completions", {"stream": True}),
        ):
            refused = service.http.post(path, json=body | more)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert refused.json()["error"]["code"] == "busy"
        url = f"{service.url}/v1"
        with (
            openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client,
            pytest.raises(openai.RateLimitError),
        ):
            client.chat.completions.create(model="default", messages=body["messages"])
        told = service.post("/v1/responses", {"input": QUESTION, "background": True})
        path = f"/v1/responses/{told['id']}"
        until(lambda: service.get(path)["status"] == "failed")
        assert service.get(path)["error"]["code"] == "busy"
        assert service.get(path)["output"] == []
    waiting.join(60)
    assert waited[0]["choices"][0]["message"]["content"] == "an owl"
    assert service.figure("vstream_requests_refused_total", reason="busy") == 4


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_decoded_for_who_has_gone(service, path, stream):
    shape = ENDLESS["response_format"]["json_schema"]
    body = {"messages": [{"role": "user", "content": QUESTION}], **ENDLESS}
    if path == "/v1/responses":
        body = {"input": QUESTION, "max_output_tokens": 4000}
        body["text"] = {"format": {"type": "json_schema", **shape}}
    with httpx.Client(base_url=service.url, timeout=httpx.Timeout(30, read=1)) as client:
        if stream:
            with client.stream("POST", path, json={**body, "stream": True}) as reply:
                next(reply.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(path, json=body)
    until(lambda: _is_idle(service), seconds=10)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_cut_off_is_an_error_that_says_so(service, stream):
    """As when the service ends. Not `something went wrong`."""
    replies = []
    if stream:
        with answering(service) as lines:
            service.service.cut_off()
            documents = [line.removeprefix("data: ") for line in lines if "data: {" in line]
        error = json.loads(documents[-1])["error"]
    else:
        body = {"messages": [{"role": "user", "content": QUESTION}], **ENDLESS}
        asking = threading.Thread(
            target=lambda: replies.append(service.http.post("/v1/chat/completions", json=body))
        )
        asking.start()
        until(lambda: _scheduler(service).num_running == 1)
        service.service.cut_off()
        asking.join(60)
        assert replies[0].status_code == 503
        error = replies[0].json()["error"]
    assert (error["code"], error["type"]) == ("cancelled", "server_error")
    until(lambda: _is_idle(service))


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(service):
    large = json.dumps({"messages": [{"role": "user", "content": "x" * MOST_BYTES}]}).encode()
    chunks = [large[start : start + 4096] for start in range(0, len(large), 4096)]
    for path in ("/v1/chat/completions", "/v1/streams/door/frames"):
        kind = {"Content-Type": "image/jpeg" if path.endswith("frames") else "application/json"}
        for content in (large, iter(chunks)):
            refused = service.http.post(path, content=content, headers=kind)
            assert refused.status_code == 413
            assert refused.json()["error"]["code"] == "body_too_large"
    url = service.url.replace("http", "ws") + "/v1/streams/door/frames"
    with connect(url) as socket:
        socket.send(b"x" * (MOST_BYTES + 1))
        with pytest.raises(ConnectionClosedError) as closed:
            socket.recv(timeout=20)
    assert closed.value.rcvd.code == 1009
    assert service.ask(QUESTION)["choices"][0]["message"]["content"] == "an owl"


def test_too_many_requests_are_refused_until_there_is_room_again():
    with running_service(requests_per_minute=30) as service:
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        answers = [service.http.get("/v1/streams") for _ in range(60)]
        refused = [one for one in answers if one.status_code == 429]
        assert len(refused) >= 10
        assert [one.status_code for one in answers[:29]] == [200] * 29
        assert 1 <= int(refused[0].headers["retry-after"]) <= 2
        assert refused[0].json()["error"]["code"] == "rate_limited"
        for part in range(40):  # frames are no requests
            pushed = service.http.post(
                "/v1/streams/door/frames", content=thing_jpeg("owl", part / 40)
            )
            assert pushed.status_code == 200
        assert service.http.get("/health").status_code == 200
        until(lambda: service.http.get("/v1/streams").status_code == 200, seconds=10)


def test_the_page_of_the_same_process_takes_no_requests_from_others():
    with running_service(requests_per_minute=30) as service:
        with ServiceClient(service.url, page_token=service.service.page_token) as page:
            for _ in range(60):
                page.streams()
        assert service.http.get("/v1/streams").status_code == 200
        with ServiceClient(service.url, page_token="made up") as other:
            with suppress(ServiceError):
                for _ in range(60):
                    other.streams()
            with pytest.raises(ServiceError, match="too many requests"):
                other.streams()


def test_a_schema_that_is_too_large_is_refused_before_anything_is_kept(service):
    schema = {"title": "x" * MAX_SCHEMA_BYTES}
    text = {"format": {"type": "json_schema", "name": "large", "schema": schema}}
    body = {"input": QUESTION, "background": True, "text": text}
    refused = service.http.post("/v1/responses", json=body)
    assert refused.status_code == 400
    assert "too many" in refused.json()["error"]["message"]


def test_streams_and_alerts_are_bounded():
    with running_service(max_streams=1, max_alerts=1) as service:
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        alert = {"stream_ids": ["door"], "condition": "tell me when an owl is there"}
        service.post("/v1/alerts", alert)
        second = {"id": "yard", "source": {"type": "push"}}
        for path, body in (("/v1/streams", second), ("/v1/alerts", alert)):
            refused = service.http.post(path, json=body)
            assert refused.status_code == 429
            assert "delete one" in refused.json()["error"]["message"]
        again = service.http.post("/v1/streams", json={**second, "id": "door"})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "stream_exists")
