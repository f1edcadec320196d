"""Who may do what: every route, every key, what others have, and where sources may lie."""

import json
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from event_listener import EventListener
from fastapi.routing import iter_route_contexts
from one_thing import thing_jpeg
from processes import until
from service import running_service
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from app.server.application import create_app
from app.server.keys import ScopedKey, new_key

MASTER = "correct-horse-battery"
KEYS, HASHES = {}, {}
for _action in ("read", "ask", "push", "manage"):
    KEYS[_action], HASHES[_action] = new_key()
KEYS["other"], HASHES["other"] = new_key()
PUBLIC = {"/health", "/ready", "/version", "/metrics", "/openapi.json", "/docs", "/", "/v1"}
ASKING = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "stream://kitchen"}},
                {"type": "text", "text": "what is there?"},
            ],
        }
    ]
}
ALERT = {"stream_ids": ["kitchen"], "condition": "tell me when an owl is there"}
STREAM = "/v1/streams/{stream_id}"
NEEDED = {
    ("GET", "/v1/models"): (None, None),
    ("GET", "/v1/models/{model:path}"): (None, None),
    ("GET", "/v1/streams"): (None, None),
    ("POST", "/v1/streams"): ("manage", {"id": "kitchen", "source": {"type": "push"}}),
    ("POST", "/v1/streams/probe"): ("all streams", {"source": {"url": "rtsp://127.0.0.1/x"}}),
    ("GET", STREAM): ("read", None),
    ("PATCH", STREAM): ("manage", {"context": "A kitchen."}),
    ("DELETE", STREAM): ("manage", None),
    ("POST", f"{STREAM}/pause"): ("manage", None),
    ("POST", f"{STREAM}/resume"): ("manage", None),
    ("POST", f"{STREAM}/restart"): ("manage", None),
    ("DELETE", f"{STREAM}/memory"): ("manage", None),
    ("GET", f"{STREAM}/frame.jpg"): ("read", None),
    ("GET", f"{STREAM}/clip.mp4"): ("read", None),
    ("GET", f"{STREAM}/clip.webp"): ("read", None),
    ("GET", f"{STREAM}/timeline"): ("read", None),
    ("POST", f"{STREAM}/frames"): ("push", None),
    ("WEBSOCKET", f"{STREAM}/frames"): ("push", None),
    ("POST", "/v1/chat/completions"): ("ask", ASKING),
    ("POST", "/v1/responses"): ("ask", {"input": ASKING["messages"]}),
    ("GET", "/v1/responses/{response_id}"): ("its maker", None),
    ("POST", "/v1/responses/{response_id}/cancel"): ("its maker", None),
    ("DELETE", "/v1/responses/{response_id}"): ("its maker", None),
    ("POST", "/v1/search"): ("read", {"query": "owl", "stream_ids": ["kitchen"]}),
    ("POST", "/v1/moments"): ("ask", {"statement": "an owl", "stream_ids": ["kitchen"]}),
    ("POST", "/v1/recaps"): ("ask", {"stream_ids": ["kitchen"]}),
    ("POST", "/v1/alerts"): ("manage", ALERT),
    ("GET", "/v1/alerts"): (None, None),
    ("GET", "/v1/alerts/{alert_id}"): ("read", None),
    ("PATCH", "/v1/alerts/{alert_id}"): ("manage", {"cooldown_s": 1}),
    ("DELETE", "/v1/alerts/{alert_id}"): ("manage", None),
    ("GET", "/v1/answers"): (None, None),
    ("GET", "/v1/firings"): (None, None),
    ("POST", "/v1/firings/seen"): (None, {"ids": [1]}),
    ("POST", "/v1/watches"): ("manage", ALERT),
    ("GET", "/v1/watches"): (None, None),
    ("GET", "/v1/watches/{watch_id}"): ("read", None),
    ("PATCH", "/v1/watches/{watch_id}"): ("manage", {"cooldown_s": 1}),
    ("DELETE", "/v1/watches/{watch_id}"): ("manage", None),
    ("GET", "/v1/events"): (None, None),
    ("WEBSOCKET", "/v1/realtime"): (None, None),  # what it does are requests of the same key
}
"""What each route needs of a key, and a body that it takes. A new route must be entered here."""
MAY = {
    "read": {"read"},
    "ask": {"read", "ask"},
    "push": {"push"},
    "manage": {"read", "ask", "push", "manage"},
    "other": set(),
}


@pytest.fixture(scope="module")
def service():
    scoped = [
        ScopedKey(name=action, hash=HASHES[action], streams=("kitchen",), can={action})
        for action in ("read", "ask", "push", "manage")
    ]
    scoped.append(
        ScopedKey(name="other", hash=HASHES["other"], streams=("bedroom",), can={"manage"})
    )
    with running_service(key=MASTER, scoped=scoped) as running:
        for stream_id, thing in (("kitchen", "owl"), ("bedroom", "burger")):
            running.post("/v1/streams", {"id": stream_id, "source": {"type": "push"}})
            for part in (0.2, 0.8):
                running.http.post(
                    f"/v1/streams/{stream_id}/frames", content=thing_jpeg(thing, part)
                )
            running.await_stream(stream_id, lambda told: told["memory"]["blocks"])
        yield running


@pytest.fixture(scope="module")
def there(service):
    """Things of the kitchen that the master made."""
    made = service.post("/v1/responses", {"input": ASKING["messages"]})
    alert = service.post("/v1/alerts", ALERT)
    return {
        "response_id": made["id"],
        "alert_id": alert["id"],
        "watch_id": alert["id"],
        "model": "default",
    }


def knock(service, way, path, key, there, stream_id="kitchen", body=None, more=None):
    """The status that comes back; 200 for a WebSocket that is let in."""
    url = path.replace(":path}", "}").format(stream_id=stream_id, **there)
    headers = {**(more or {}), **({} if key is None else {"Authorization": f"Bearer {key}"})}
    if way == "WEBSOCKET":
        try:
            with connect(service.url.replace("http", "ws") + url, additional_headers=headers):
                return 200, ""
        except InvalidStatus as error:
            return error.response.status_code, ""
    with (
        httpx.Client(base_url=service.url, headers=headers, timeout=30) as client,
        client.stream(way, url, json=body) as response,
    ):
        if response.headers["content-type"].startswith("text/event-stream"):
            return response.status_code, ""
        return response.status_code, response.read().decode("latin-1")


def test_every_route_is_known_here(service):
    routes = set()
    for route in iter_route_contexts(create_app(service.service).routes):
        ways = set(route.methods or {"WEBSOCKET"}) - {"HEAD"}
        routes |= {(way, route.path) for way in ways if route.path not in PUBLIC}
    assert routes == set(NEEDED)


@pytest.mark.parametrize(("way", "path"), NEEDED)
def test_no_route_answers_without_a_good_key(service, there, way, path):
    refusal = 403 if way == "WEBSOCKET" else 401
    for key in (None, "wrong", MASTER[:-1], HASHES["manage"]):
        status, _ = knock(service, way, path, key, there, body=NEEDED[way, path][1])
        assert status == refusal, key


@pytest.mark.parametrize("path", ["/v1/", "/v1/nothing", "/v1/streams/x/y/z"])
def test_nothing_under_v1_is_open(service, path):
    assert httpx.get(service.url + path).status_code == 401
    malformed = httpx.post(service.url + path, content=b"{", headers={"content-type": "text/json"})
    assert malformed.status_code == 401


ALL = [(*route, who) for route, (needs, _) in NEEDED.items() if needs for who in MAY]
ALLOWED = [
    one for one in ALL if NEEDED[one[:2]][0] in MAY[one[2]] and one[:2] != ("DELETE", STREAM)
]
REFUSED = [one for one in ALL if NEEDED[one[:2]][0] not in MAY[one[2]]]


@pytest.mark.parametrize(("way", "path", "who"), REFUSED)
def test_a_key_does_no_more_than_it_may(service, there, way, path, who):
    status, told = knock(service, way, path, KEYS[who], there, body=NEEDED[way, path][1])
    assert status in (403, 404), told
    if way != "WEBSOCKET":
        code = json.loads(told)["error"]["code"]
        assert code.endswith("_not_found") or code == "not_permitted"


@pytest.mark.parametrize(("way", "path", "who"), ALLOWED)
def test_a_key_does_what_it_may(service, there, way, path, who):
    if path == "/v1/alerts/{alert_id}":
        there = {**there, "alert_id": service.post("/v1/alerts", ALERT)["id"]}
    status, told = knock(service, way, path, KEYS[who], there, body=NEEDED[way, path][1])
    assert status not in (401, 403, 404), told
    assert status < 500


def test_lists_and_searches_show_only_what_a_key_may_see(service, there):
    def seen(who, way, path, body=None):
        status, told = knock(service, way, path, KEYS[who], there, body=body)
        assert status == 200
        return json.loads(told)["data"]

    for who in ("read", "ask", "manage"):
        (kitchen,) = seen(who, "GET", "/v1/streams")
        assert set(kitchen["can"]) == MAY[who]
    everywhere = {"query": "owl", "stream_ids": ["*"]}
    for who, streams in (("read", {"kitchen"}), ("other", {"bedroom"}), ("push", set())):
        assert {one["id"] for one in seen(who, "GET", "/v1/streams")} == streams
        found = seen(who, "POST", "/v1/search", everywhere)
        assert {one["stream_id"] for one in found} == streams
        watched = {id_ for one in seen(who, "GET", "/v1/alerts") for id_ in one["stream_ids"]}
        assert watched == streams & {"kitchen"}


def test_a_question_of_no_stream_is_about_the_only_one_that_a_key_may_ask(service, there):
    body = {"messages": [{"role": "user", "content": "what is there?"}]}
    status, told = knock(service, "POST", "/v1/chat/completions", KEYS["ask"], there, body=body)
    assert status == 200
    cited = json.loads(told)["choices"][0]["message"]["annotations"]
    assert {one["stream_id"] for one in cited} == {"kitchen"}
    status, told = knock(service, "POST", "/v1/chat/completions", KEYS["push"], there, body=body)
    assert status == 403
    assert "kitchen" not in told


def test_a_response_is_its_makers_alone(service, there):
    """Though `manage` may do all to the stream that it is about."""
    status, told = knock(
        service, "POST", "/v1/responses", KEYS["ask"], there, body={"input": ASKING["messages"]}
    )
    made = json.loads(told)
    assert status == 200
    mine = {**there, "response_id": made["id"]}
    for way, path in (
        ("GET", "/v1/responses/{response_id}"),
        ("POST", "/v1/responses/{response_id}/cancel"),
        ("DELETE", "/v1/responses/{response_id}"),
    ):
        for key in (KEYS["manage"], MASTER):
            assert knock(service, way, path, key, mine)[0] == 404
    follow_up = {"input": "what is there?", "previous_response_id": made["id"]}
    assert knock(service, "POST", "/v1/responses", MASTER, mine, body=follow_up)[0] == 404
    assert knock(service, "POST", "/v1/responses", KEYS["ask"], mine, body=follow_up)[0] == 200


@pytest.mark.parametrize(
    ("who", "stream_id", "refusal"),
    [
        ("ask", "bedroom", (404, "stream_not_found")),
        ("ask", "nothing", (404, "stream_not_found")),
        ("read", "kitchen", (403, "not_permitted")),
    ],
)
def test_an_answer_in_the_background_fails_as_one_that_is_waited_for(
    service, there, who, stream_id, refusal
):
    url = {"url": f"stream://{stream_id}"}
    parts = [{"type": "video_url", "video_url": url}, {"type": "input_text", "text": "what?"}]
    body = {"input": [{"role": "user", "content": parts}]}
    status, told = knock(service, "POST", "/v1/responses", KEYS[who], there, body=body)
    waited_for = json.loads(told)["error"]
    assert (status, waited_for["code"]) == refusal
    body["background"] = True
    _, told = knock(service, "POST", "/v1/responses", KEYS[who], there, body=body)
    mine = {**there, "response_id": json.loads(told)["id"]}

    def failed():
        _, told = knock(service, "GET", "/v1/responses/{response_id}", KEYS[who], mine)
        return json.loads(told) if '"failed"' in told else None

    until(failed)
    assert failed()["error"] == {name: waited_for[name] for name in ("code", "message")}


def test_events_are_told_to_those_whom_they_concern(service):
    """Of a stream whoever may read it, of a response its maker alone, and nobody what was said."""

    def told(who, key, kinds):
        listener = EventListener(service.url, key)
        return who, listeners.enter_context(listener), kinds

    with ExitStack() as listeners:
        of_kitchen = ["answer.done kitchen"] * 2 + ["memory.forgotten kitchen"] * 2
        of_bedroom = ["memory.forgotten bedroom"] * 2
        expected = [
            told("read", KEYS["read"], of_kitchen),
            told("ask", KEYS["ask"], [*of_kitchen, "response.done of ask"]),
            told("other", KEYS["other"], of_bedroom),
            told("master", MASTER, [*of_kitchen, *of_bedroom, "response.done of master"]),
        ]
        makers = {}
        for maker, key in (("ask", KEYS["ask"]), ("master", MASTER)):
            with httpx.Client(base_url=service.url, timeout=30) as client:
                client.headers["Authorization"] = f"Bearer {key}"
                made = client.post("/v1/responses", json={"input": ASKING["messages"]}).json()
            makers[made["id"]] = maker
        for stream_id in ("bedroom", "kitchen") * 2:
            service.delete(f"/v1/streams/{stream_id}/memory?from_s=900&to_s=901")
        for _, listener, kinds in expected:
            listener.await_events(lambda events, kinds=kinds: len(_done(events)) >= len(kinds))
        for who, listener, kinds in expected:
            states = {e["stream_id"] for e in listener.events if e not in _done(listener.events)}
            assert states <= {kind.split()[-1] for kind in kinds}, who
            seen = [
                f"{event['type']} {event['stream_id']}"
                if event["stream_id"]
                else f"{event['type']} of {makers[event['data']['response_id']]}"
                for event in _done(listener.events)
            ]
            assert sorted(seen) == sorted(kinds), who
            assert "owl" not in listener.text


def _done(events):
    """Without how a stream is doing, which may change at any time."""
    return [event for event in events if event["type"] != "stream.state"]


@pytest.fixture(scope="module")
def open_service():
    folder = Path(__file__).parents[3] / "app" / "assets"
    with running_service(allow_files=[folder]) as running:
        running.post("/v1/streams", {"id": "pushed", "source": {"type": "push"}})
        yield running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:8900"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_an_open_service_answers_no_page_of_another_host(open_service, headers, status):
    answer = open_service.http.get("/v1/streams", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "host_refused"
    if "Origin" in headers:
        ask = (open_service, "WEBSOCKET", f"{STREAM}/frames", None, {})
        assert knock(*ask, "pushed", more=headers)[0] == status


def test_with_a_key_any_host_will_do(service):
    assert service.http.get("/v1/streams", headers={"Host": "vstream.example"}).status_code == 200


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("/etc/passwd", "SOURCE_FORBIDDEN"),
        ("file:///etc/passwd", "SOURCE_FORBIDDEN"),
        ("{folder}/../../pyproject.toml", "SOURCE_FORBIDDEN"),
        ("{folder}", "SOURCE_FORBIDDEN"),
        ("{folder}/nothing.mp4", "FILE_NOT_FOUND"),
        ("concat:/etc/passwd", "SOURCE_FORBIDDEN"),
        ("app/assets/sample_stream.mp4", "SOURCE_FORBIDDEN"),
        ("rtsp://127.0.0.1/x", "SOURCE_FORBIDDEN"),
        ("rtsp://localhost:8554/x", "SOURCE_FORBIDDEN"),
        ("rtsp://[::1]/x", "SOURCE_FORBIDDEN"),
        ("rtsp://[::ffff:10.0.0.1]/x", "SOURCE_FORBIDDEN"),
        ("rtsp://0/x", "SOURCE_FORBIDDEN"),
        ("http://169.254.169.254/latest/meta-data", "SOURCE_FORBIDDEN"),
        ("webcam:0", "SOURCE_FORBIDDEN"),
        ("ftp://127.0.0.1/x.mp4", "SOURCE_UNSUPPORTED"),
    ],
)
def test_a_caller_names_no_source_that_is_not_open_to_it(open_service, url, code):
    folder = open_service.service.settings.service.allow_files[0]
    source = {"url": url.format(folder=folder)}
    for path, body in (("", {"id": "x", "source": source}), ("/probe", {"source": source})):
        refused = open_service.http.post(f"/v1/streams{path}", json=body)
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["code"] == code
    assert [one["id"] for one in open_service.get("/v1/streams")["data"]] == ["pushed"]


def test_a_source_that_is_allowed_is_looked_at(open_service):
    folder = open_service.service.settings.service.allow_files[0]
    found = open_service.post(
        "/v1/streams/probe", {"source": {"url": str(folder / "sample_stream.mp4")}}
    )
    assert (found["kind"], found["codec"], found["width"]) == ("file", "h264", 384)


@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"url": "{folder}/sample_stream.mp4", "speed": 0}, "source.speed"),
        ({"url": "{folder}/sample_stream.mp4", "speed": 100.5}, "source.speed"),
        ({"url": "{folder}/sample_stream.mp4", "speed": "fast"}, "source.speed"),
        ({"url": "{folder}/sample_stream.mp4", "loop": "sometimes"}, "source.loop"),
        ({"url": "{folder}/sample_stream.mp4", "real_time": False}, "source.real_time"),
        ({"url": "rtsp://camera.example/1", "loop": True}, "source"),
        ({"url": "rtsp://camera.example/1", "speed": 4}, "source"),
        ({"type": "push", "loop": True}, "source"),
        ({"type": "push", "speed": "max"}, "source"),
    ],
)
def test_only_a_file_plays_faster_or_again_and_within_bounds(open_service, source, param):
    folder = open_service.service.settings.service.allow_files[0]
    if "url" in source:
        source = {**source, "url": source["url"].format(folder=folder)}
    refused = open_service.http.post("/v1/streams", json={"id": "x", "source": source})
    assert refused.status_code == 422, refused.text
    told = refused.json()["error"]
    assert (told["code"], told["param"]) == ("invalid_value", param), told
    if param == "source":
        assert "for files" in told["message"]
    if param == "source.speed":
        assert "max" in told["message"]


def test_a_webhook_goes_to_no_private_address(open_service):
    alert = {"stream_ids": ["pushed"], "condition": "tell me when an owl is there"}
    alert["actions"] = [{"type": "webhook", "url": "http://10.0.0.1/hook"}]
    refused = open_service.http.post("/v1/alerts", json=alert)
    assert refused.status_code in (400, 422)
    assert "private" in refused.json()["error"]["message"]
