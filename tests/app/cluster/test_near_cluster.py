"""Two real workers behind an ingress, over one Redis, without Ray: what each asks of the other."""

import asyncio
import json
import threading
import time
from contextlib import aclosing

import httpx
import pytest
from event_listener import EventListener
from near_workers import near_cluster
from one_thing import thing_jpeg
from service import endless, no_words
from websockets.sync.client import connect

from app.cluster.relay import BEAT_S, WINDOW
from app.server.attempt import KEY, new_attempt
from memory.tiers.redis.redis_keys import RedisKeys

MASTER = "correct-horse-battery"
STREAMS = [f"cam{number}" for number in range(6)]
ASKED = "describe what you see"


@pytest.fixture(scope="module")
def cluster(running_redis):
    with running_redis.client() as client:
        client.flushall()
    with near_cluster(running_redis.url, key=MASTER) as running:
        for number, stream_id in enumerate(STREAMS):
            spec = {"context": "a gate", "timezone": "Asia/Tokyo"} if number % 2 else {}
            running.post("/v1/streams", {"id": stream_id, "source": {"type": "push"}, **spec})
            for second in range(3):
                push(running, stream_id, ("owl", "burger")[number % 2], 1000.0 + second, second / 4)
        wait_for(lambda: set(STREAMS) <= running.near.members.streams)
        yield running


@pytest.fixture(autouse=True)
def _whole_again(cluster):
    yield
    cluster.near.dead.clear()
    cluster.near.leaving.clear()
    cluster.near.falls.clear()
    cluster.near.hangs = False
    wait_for(lambda: len(cluster.near.members.workers) == len(cluster.near.workers))
    cluster.near.members._suspects.clear()


def wait_for(is_so):
    waiting = threading.Event()
    for _ in range(600):
        if is_so():
            return
        waiting.wait(0.05)
    raise AssertionError("it never was so")


def push(running, stream_id, thing, at, part=0.5):
    path = f"/v1/streams/{stream_id}"
    before = running.get(path)["frames"]["encoded"]
    headers = {"X-Capture-Time": f"{at:.3f}", "Content-Type": "image/jpeg"}
    told = running.http.post(f"{path}/frames", content=thing_jpeg(thing, part), headers=headers)
    assert told.json()["accepted"], told.text
    running.await_stream(stream_id, lambda one: one["frames"]["encoded"] > before)


def of(running, worker):
    """A stream that this worker watches."""
    return running.near.workers[worker].streams[0]


def told_of(running, path, document):
    """The events of an answer, as documents."""
    with running.http.stream("POST", path, json={**document, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        lines = [line.removeprefix("data: ") for line in answer.iter_lines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


def chat(stream_id, **wishes):
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream_id}?as_of_s=2.5"}},
        {"type": "text", "text": ASKED},
    ]
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 24, **wishes}


def response(stream_id):
    parts = chat(stream_id)["messages"][0]["content"]
    return {"input": [{"role": "user", "content": parts}], "max_output_tokens": 24}


def words(events):
    chosen = [one["choices"][0]["delta"].get("content", "") for one in events if one.get("choices")]
    return "".join(chosen) + "".join(one["delta"] for one in events if "delta" in one)


def test_streams_are_spread_and_listed_as_one(cluster):
    owned = [set(one.streams) for one in cluster.near.workers.values()]
    assert all(owned)
    assert not owned[0] & owned[1]
    told = cluster.get("/v1/streams")
    assert [one["id"] for one in told["data"]] == STREAMS
    assert "incomplete" not in told
    assert [cluster.get(f"/v1/streams/{one}")["id"] for one in STREAMS] == STREAMS
    again = cluster.http.post("/v1/streams", json={"id": "cam0", "source": {"type": "push"}})
    assert again.status_code == 409


@pytest.mark.parametrize("worker", "ab")
@pytest.mark.parametrize(("after", "hangs"), [(0, False), (3, False), (3, True)])
@pytest.mark.parametrize("kind", ["chat", "responses"])
def test_an_answer_outlives_its_worker(cluster, worker, after, hangs, kind):
    stream_id = of(cluster, worker)
    path = "/v1/chat/completions" if kind == "chat" else "/v1/responses"
    asked = chat(stream_id) if kind == "chat" else response(stream_id)
    undisturbed = told_of(cluster, path, asked)
    cluster.near.hangs = hangs
    cluster.near.falls[worker] = after + 1 + 4 * (kind == "responses")
    asked_before = len(cluster.near.asked)
    found = told_of(cluster, path, asked)
    assert [name for name, _ in cluster.near.asked[asked_before:]] == [
        worker,
        "ab".replace(worker, ""),
    ]
    assert words(found) == words(undisturbed) != ""
    ids = {
        one["id"] if "choices" in one else one["response"]["id"]
        for one in found
        if "choices" in one or "response" in one
    }
    assert len(ids) == 1
    assert json.dumps(found).count("video_citation") == json.dumps(undisturbed).count(
        "video_citation"
    )


def test_drawn_words_are_never_mixed(cluster):
    stream_id = of(cluster, "a")
    cluster.near.falls["a"] = 4
    found = told_of(cluster, "/v1/chat/completions", chat(stream_id, temperature=1.5))
    assert [one["error"]["code"] for one in found if "error" in one] == ["worker_lost"]


def test_owner_alone_does_what_is_the_owners(cluster):
    for stream_id in STREAMS:
        before = len(cluster.near.asked)
        assert cluster.post(f"/v1/streams/{stream_id}/pause")["state"] == "paused"
        cluster.post(f"/v1/streams/{stream_id}/resume")
        asked = {worker for worker, _ in cluster.near.asked[before:]}
        assert asked == {cluster.near.members.owner(stream_id)}


def test_a_worker_says_no_more_than_a_window_to_who_does_not_read(cluster):
    document = endless(of(cluster, "a"), temperature=0, max_tokens=400, stream=True)
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
    headers = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
    told = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope |= {"headers": told, "query_string": b"", KEY: new_attempt()}
    call = {"id": "1", "scope": scope, "body": json.dumps(document).encode()}
    call |= {"stream": of(cluster, "a"), "is_owners": False}

    async def heard():
        worker, found = cluster.near.workers["a"], []
        async with aclosing(worker.asgi({}, call)) as messages:
            for read in (WINDOW, 32):
                for _ in range(read):
                    found.append(await anext(messages, None))
                    assert found[-1] is not None, found
                more = asyncio.ensure_future(anext(messages))
                assert not (await asyncio.wait({more}, timeout=2 * BEAT_S))[0]
                worker.acknowledge({}, "1", 33)
                found.append(await more)
        return found

    told = cluster.run(heard())
    assert told[0]["type"] == "vstream.accepted"
    assert told[-1]["type"] == "http.response.body"


def test_a_stream_that_was_just_made_is_found_by_who_has_not_heard_of_it(cluster, monkeypatch):
    """As where another worker has joined meanwhile, which is first for it."""
    made = of(cluster, "a")
    path, asked = f"/v1/streams/{made}", cluster.near.asked
    asked.clear()
    owner = lambda stream_id: "a" if ("b", path) in asked else "b"  # noqa: E731
    monkeypatch.setattr(cluster.near.members, "owner", owner)
    assert cluster.get(path)["id"] == made
    assert asked[0] == ("b", path)


def test_what_all_know_is_merged(cluster):
    found = cluster.post("/v1/search", {"query": "an owl", "limit": 4})
    scores = [one["score"] for one in found["data"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    named = {"query": "an owl", "limit": 50, "stream_ids": [of(cluster, "a"), of(cluster, "b")]}
    of_both = cluster.post("/v1/search", named)["data"]
    assert {one["stream_id"] for one in of_both} == set(named["stream_ids"])
    spans = cluster.post("/v1/moments", {"statement": "an owl is there", "stream_ids": ["*"]})
    assert set(spans["coverage"]) == set(STREAMS)
    of_one = {"statement": "an owl is there", "stream_ids": [of(cluster, "b")], "stream": True}
    with cluster.http.stream("POST", "/v1/moments", json=of_one) as told:
        kinds = [one for one in told.iter_lines() if one.startswith("event: ")]
    assert kinds[-1] == "event: done"
    all_of_them = {"statement": "an owl is there", "stream_ids": ["*"]}
    events = told_by_all(cluster, "/v1/moments", all_of_them)
    assert [one for kind, one in events if kind == "done"] == [events[-1][1]]
    listed = sorted((one for kind, one in events if kind == "span"), key=place)
    assert listed == sorted(events[-1][1]["data"], key=place)
    assert {one["stream_id"] for one in listed} == set(STREAMS[::2])
    assert events[-1][1]["data"] == spans["data"]
    recap = cluster.post("/v1/recaps", {"stream_ids": ["*"]})
    assert set(recap["coverage"]) == set(STREAMS)
    count = len(recap["data"])
    wanted = f"{count or 'no'} things came or left: {', '.join(STREAMS)}, 1970-01-01 00:16:40"
    assert recap["title"].startswith(wanted)
    events = told_by_all(cluster, "/v1/recaps", {"stream_ids": ["*"]})
    assert events[-1][1]["data"] == recap["data"]
    assert sum(kind == "entry" for kind, _ in events) == count
    assert (
        cluster.http.post("/v1/search", json={"query": "x", "stream_ids": ["nil"]}).status_code
        == 404
    )


def told_by_all(running, path, document):
    """Kinds and documents of the events."""
    with running.http.stream("POST", path, json={**document, "stream": True}) as told:
        assert told.status_code == 200, told.read()
        lines = list(told.iter_lines())
    kinds = [one.removeprefix("event: ") for one in lines if one.startswith("event: ")]
    told = [json.loads(one.removeprefix("data: ")) for one in lines if one.startswith("data: {")]
    return list(zip(kinds, told, strict=True))


def place(one):
    return one["stream_id"], one["from_s"]


def test_who_is_missing_is_named(cluster):
    cluster.near.falls["b"] = 0
    told = cluster.get("/v1/streams")
    assert told["incomplete"] == ["b"]
    assert {one["id"] for one in told["data"]} == set(cluster.near.workers["a"].streams)


def test_alerts_are_found_by_their_ids(cluster):
    made = [
        cluster.post(
            "/v1/alerts", {"condition": "an owl is there", "stream_ids": [of(cluster, one)]}
        )
        for one in "ab"
    ]
    listed = cluster.get("/v1/alerts")["data"]
    assert {one["id"] for one in made} <= {one["id"] for one in listed}
    for one in made:
        assert cluster.get(f"/v1/alerts/{one['id']}")["id"] == one["id"]
        assert cluster.delete(f"/v1/alerts/{one['id']}")["deleted"]
    assert cluster.http.get(f"/v1/alerts/{made[0]['id']}").status_code == 404
    assert cluster.get("/v1/firings?limit=5")["data"] == []


def test_an_alert_is_on_streams_of_several_workers(cluster):
    """It is one alert: set, changed and deleted at any of them, and told of by each."""
    ids = [of(cluster, one) for one in "ab"]
    wanted = {"condition": "an owl is there", "confirmations": 1, "cooldown_s": 0, "every_s": 0.2}
    made = cluster.post("/v1/alerts", {**wanted, "stream_ids": ids})
    path = f"/v1/alerts/{made['id']}"
    at = {one: cluster.get(f"/v1/streams/{one}/timeline")["kept_to_s"] for one in ids}
    for stream_id in ids:
        for number, thing in enumerate(["burger", "owl", "burger", "owl"]):
            push(cluster, stream_id, thing, 1000.0 + at[stream_id] + 1 + number, 0.1 * number)
            wait_for(lambda n=number: cluster.get(path)["judged"] >= (n + 1))
    wait_for(lambda: {one["stream_id"] for one in cluster.get(path)["firings"]} == set(ids))
    told = cluster.get(path)
    assert told["fired"] == len(told["firings"]) >= 2
    assert set(told["last_probability"]) == set(ids)
    numbers = [one["id"] for one in told["firings"]]
    assert numbers == sorted(numbers, reverse=True)
    [listed] = [one for one in cluster.get("/v1/alerts")["data"] if one["id"] == made["id"]]
    assert listed["firings"] == told["firings"]
    changed = {"stream_ids": ids[::-1], "cooldown_s": 60}
    cluster.http.patch(path, json=changed).raise_for_status()
    for worker in cluster.near.workers.values():
        wait_for(lambda worker=worker: spec_of(worker, made).cooldown_s == 60)
    assert cluster.get(path)["fired"] >= told["fired"], "what has come of it stays"
    cluster.http.patch(path, json={"stream_ids": ids[1:]}).raise_for_status()
    wait_for(lambda: {one["stream_id"] for one in cluster.get(path)["firings"]} == {ids[1]})
    refused = cluster.http.patch(path, json={"stream_ids": [ids[0], "nowhere"]})
    assert refused.status_code == 404
    with EventListener(cluster.url, MASTER, kind="alert.ended") as listener:
        assert cluster.delete(path)["deleted"]
        assert cluster.http.get(path).status_code == 404
        told = listener.await_events(lambda events: events)
    assert [one["data"]["alert_id"] for one in told] == [made["id"]]
    cluster.run(cluster.near.workers["b"]._take())
    for worker in cluster.near.workers.values():
        wait_for(lambda worker=worker: made["id"] not in known_alerts(worker))


def test_an_alert_on_all_streams_is_on_those_of_every_worker(cluster):
    wanted = {"condition": "an owl is there", "stream_ids": ["*"]}
    made = cluster.post("/v1/alerts", wanted)
    path = f"/v1/alerts/{made['id']}"
    for worker in cluster.near.workers.values():
        wait_for(lambda worker=worker: made["id"] in known_alerts(worker))
        record = worker.service.loaded.alerts.get(made["id"])
        wait_for(lambda: {one.spec.id for one in record.on_streams} == set(worker.streams))  # noqa: B023
    cluster.http.patch(path, json={"cooldown_s": 60}).raise_for_status()
    for worker in cluster.near.workers.values():
        wait_for(lambda worker=worker: spec_of(worker, made).cooldown_s == 60)
    assert cluster.delete(path)["deleted"]
    for worker in cluster.near.workers.values():
        wait_for(lambda worker=worker: made["id"] not in known_alerts(worker))


def known_alerts(worker):
    return [one.id for one in worker.service.loaded.alerts.all()]


def spec_of(worker, made):
    return worker.service.loaded.alerts.get(made["id"]).spec


def test_a_response_is_found_by_its_id(cluster):
    made = [cluster.post("/v1/responses", response(of(cluster, one))) for one in "ab"]
    for one in made:
        assert cluster.get(f"/v1/responses/{one['id']}")["output"] == one["output"]
        more = {"input": "and then?", "previous_response_id": one["id"], "max_output_tokens": 4}
        assert cluster.post("/v1/responses", more)["previous_response_id"] == one["id"]
        assert cluster.delete(f"/v1/responses/{one['id']}")["deleted"]


def test_a_question_about_streams_of_several_workers_is_answered_as_by_their_owners(cluster):
    """The worker of the first of them reads the others out of the store."""
    for ids in ([of(cluster, "a"), of(cluster, "b")], [of(cluster, "b"), of(cluster, "a")]):
        urls = [f"stream://{stream_id}?as_of_s=2.5" for stream_id in ids]
        of_all = cluster.ask(ASKED, *urls, max_tokens=24)
        of_each = [cluster.ask(ASKED, url, max_tokens=24) for url in urls]
        messages = [one["choices"][0]["message"] for one in (of_all, *of_each)]
        lines = [line.strip() for line in messages[0]["content"].split("\n")]
        named = zip(ids, messages[1:], strict=True)
        assert lines == [f"{name}: {one['content']}".strip() for name, one in named]
        cited = [cited for one in messages[1:] for cited in one["annotations"]]
        assert messages[0]["annotations"] == cited != []


def test_who_goes_on_with_a_response_asks_its_streams_owner_about_now(cluster):
    """Also the one that has heard of neither, and not about the moment of then."""
    for worker in "ab":
        stream_id = of(cluster, worker)
        first = response(stream_id)
        first["input"][0]["content"][0]["video_url"]["url"] = f"stream://{stream_id}"
        made = cluster.post("/v1/responses", first)
        push(cluster, stream_id, "owl", 1500.0 + ord(worker))
        to_others = cluster.figure("vstream_routed_total", to="other") or 0
        for _ in range(4):
            more = {"input": "and then?", "previous_response_id": made["id"]}
            told = cluster.post("/v1/responses", {**more, "max_output_tokens": 4})
            assert told["vstream"][0]["as_of"] > made["vstream"][0]["as_of"]
            newest = [one["vstream"][0]["newest_frame_at"] for one in (told, made)]
            assert newest[0] > newest[1]
        assert (cluster.figure("vstream_routed_total", to="other") or 0) == to_others


def test_figures_say_whose_they_are(cluster):
    cluster.ask("what?", f"stream://{of(cluster, 'a')}", max_tokens=1)
    assert cluster.figure("vstream_routed_total", to="owner") > 0
    told = cluster.http.get("/metrics").text
    assert 'worker="a"' in told
    assert 'worker="b"' in told


def test_events_of_all_workers_are_heard(cluster):
    heard = []
    with cluster.http.stream("GET", "/v1/events?kind=answer.done") as listening:
        lines = listening.iter_lines()
        assert next(lines) == ": listening"
        asked = [of(cluster, "a"), of(cluster, "b")]
        for stream_id in asked:
            cluster.ask("what?", f"stream://{stream_id}", max_tokens=1)
        for line in lines:
            if line.startswith("data: "):
                heard.append(json.loads(line.removeprefix("data: ")))
            if len(heard) == 2:
                break
    assert [one["stream_id"] for one in heard] == asked
    assert heard[0]["id"] < heard[1]["id"]
    since = heard[0]["id"]
    with cluster.http.stream("GET", "/v1/events", headers={"Last-Event-ID": str(since)}) as again:
        found = (one for one in again.iter_lines() if one.startswith("id: "))
        assert next(found) == f"id: {heard[1]['id']}"


def test_frames_are_pushed_over_one_socket(cluster):
    stream_id = of(cluster, "b")
    url = f"{cluster.url.replace('http', 'ws')}/v1/streams/{stream_id}/frames"
    with connect(url, additional_headers={"Authorization": f"Bearer {MASTER}"}) as socket:
        socket.send(json.dumps({"captured_at": 2000.0}))
        socket.send(thing_jpeg("owl", 0.3))
        assert json.loads(socket.recv())["accepted"]
        socket.send(b"no picture")
        assert json.loads(socket.recv())["error"]["code"]


def test_an_answer_ends_with_the_conversation_that_it_is_in(cluster):
    def askers():
        return sum(one.answering.num for one in cluster.services)

    text = [{"type": "input_text", "text": ASKED}]
    item = {"type": "message", "role": "user", "content": text}
    headers = {"Authorization": f"Bearer {MASTER}"}
    address = f"{cluster.url.replace('http', 'ws')}/v1/realtime?stream=cam0"
    with no_words(cluster):
        with connect(address, additional_headers=headers) as socket:
            socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
            socket.send(json.dumps({"type": "response.create"}))
            wait_for(lambda: json.loads(socket.recv())["type"] == "response.created")
            wait_for(lambda: askers() == 1)
        wait_for(lambda: not askers())


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/events", "/v1/chat/completions"])
def test_nothing_is_told_without_a_key(cluster, path):
    assert httpx.get(cluster.url + path).status_code == 401


def test_health_needs_no_worker_and_documents_are_the_services(cluster):
    assert cluster.get("/health") == {"status": "ok"}
    for path in ("/", "/ui"):
        assert "vstream ui --service" in cluster.http.get(path).text
    assert cluster.get("/version")["version"]
    assert "/v1/streams" in cluster.get("/openapi.json")["paths"]
    assert cluster.get("/v1/models")["data"][0]["id"] == "default"


def test_a_worker_lets_go_of_a_stream_that_another_has_taken(cluster, running_redis):
    """As one finds it that was stopped for a while; the other is gone as well after 2 s."""
    worker, stream_id = cluster.near.workers["a"], of(cluster, "a")
    keys = RedisKeys(stream_id)
    with running_redis.client() as client:
        client.hset(keys.meta, "fence", "99.f")
        client.set(keys.lease, "99.f elsewhere:1", px=2000)
    headers = {"X-Capture-Time": "2400.0", "Content-Type": "image/jpeg"}
    path = f"/v1/streams/{stream_id}/frames"
    cluster.http.post(path, content=thing_jpeg("owl"), headers=headers)  # is not kept
    wait_for(lambda: stream_id not in worker.streams)
    wait_for(lambda: worker.service.loaded.streams.find(stream_id) is None)
    wait_for(lambda: cluster.near.members.owner(stream_id))
    push(cluster, stream_id, "owl", 2500.0)


def test_a_worker_that_is_scaled_away_gives_its_streams_away_while_it_answers(cluster, monkeypatch):
    """Several at a time: each waits for its turn of the device."""
    evened_out(cluster)
    leaving, stays = cluster.near.workers["b"], cluster.near.workers["a"]
    wait_for(lambda: len(leaving.streams) > 1)
    monkeypatch.setattr("app.cluster.worker._GIVE_S", 600)  # nothing but what it leaves moves now
    wait_for(lambda: set(STREAMS) <= {*leaving.streams, *stays.streams})
    streams, given = leaving.streams, []
    together = threading.Barrier(2)
    before = {one: cluster.get(f"/v1/streams/{one}/timeline")["kept_to_s"] for one in streams}
    release = leaving.service.loaded.streams.release

    def told(stream_id):
        given.append(stream_id)
        if stream_id in streams[:2]:
            together.wait(30)
        release(stream_id)

    monkeypatch.setattr(leaving.service.loaded.streams, "release", told)
    asked = endless(streams[0], temperature=0, max_tokens=200, stream=True)
    with cluster.http.stream("POST", "/v1/chat/completions", json=asked) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if '"content"' in line)
        cluster.near.leaving.add("b")
        wait_for(lambda: set(STREAMS) <= set(stays.streams))
        assert '"error"' not in "".join(lines)
    assert sorted(given) == streams
    for stream_id, kept_to_s in before.items():
        assert cluster.get(f"/v1/streams/{stream_id}/timeline")["kept_to_s"] == kept_to_s
        push(cluster, stream_id, "owl", 3000.0)
    assert leaving.load == 0 < stays.load


def test_a_picture_for_a_stream_that_is_just_given_away_goes_to_who_takes_it(cluster, monkeypatch):
    evened_out(cluster)
    streams, moving = cluster.near.workers["b"].service.loaded.streams, of(cluster, "b")
    get = streams.get

    def late(stream_id):
        monkeypatch.setattr(streams, "get", get)
        streams.release(stream_id)
        return get(stream_id)

    monkeypatch.setattr(streams, "get", late)
    headers = {"X-Capture-Time": "3200.0", "Content-Type": "image/jpeg"}
    path = f"/v1/streams/{moving}/frames"
    told = cluster.http.post(path, content=thing_jpeg("owl"), headers=headers)
    assert told.json().get("accepted"), told.text


def evened_out(cluster):
    """Who has no streams gets one."""
    for worker in cluster.near.workers.values():
        worker._gave_at -= 60
    wait_for(lambda: all(worker.streams for worker in cluster.near.workers.values()))


def leave_alone(cluster, worker):
    """The others are to take what this worker leaves."""
    cluster.near.leaving.add(worker)
    wait_for(lambda: worker not in cluster.near.members.workers)


def test_a_list_waits_for_what_changes_workers(cluster, monkeypatch):
    """Also for its alerts, which the one who takes it has later than the stream."""
    evened_out(cluster)
    takes, moving = cluster.near.workers["a"].service.loaded, of(cluster, "b")
    wanted = {"condition": "an owl is there", "confirmations": 1, "every_s": 0.2}
    made = cluster.post("/v1/alerts", {**wanted, "stream_ids": [moving]})
    for number, thing in enumerate(["burger", "owl"]):
        push(cluster, moving, thing, 3500.0 + number)
        wait_for(lambda n=number: cluster.get(f"/v1/alerts/{made['id']}")["judged"] > n)
    wait_for(lambda: cluster.get("/v1/firings")["data"])
    fired = cluster.get("/v1/firings")["data"]
    adopt, may_take = takes.streams.adopt, threading.Event()

    def late(stream_id):
        may_take.wait(30)
        return adopt(stream_id)

    monkeypatch.setattr(takes.streams, "adopt", late)
    leave_alone(cluster, "b")
    threading.Timer(1.5, may_take.set).start()
    assert [one["id"] for one in cluster.get("/v1/firings")["data"]] == [one["id"] for one in fired]
    told = cluster.get("/v1/streams")
    assert ([one["id"] for one in told["data"]], told["stored"]) == (STREAMS, [])
    cluster.delete(f"/v1/alerts/{made['id']}")


def test_a_list_does_not_wait_for_what_nobody_can_take(cluster, monkeypatch):
    evened_out(cluster)
    monkeypatch.setattr("app.cluster.worker._SETTLE_S", 2.0)
    monkeypatch.setattr("app.cluster.worker.to_take", lambda *_: [])
    leave_alone(cluster, "b")
    wait_for(lambda: not cluster.near.workers["b"].streams)

    def listed_in_s():
        began = time.monotonic()
        told = cluster.get("/v1/streams")
        assert set(told["stored"]).isdisjoint(one["id"] for one in told["data"])
        assert len(told["stored"] + told["data"]) == len(STREAMS)
        return time.monotonic() - began

    assert any(listed_in_s() < 1 for _ in range(5))


def test_a_worker_that_leaves_gives_its_streams_to_the_others(cluster):
    """The last of this file: it does not come back."""
    stay = cluster.near.workers["b"]
    evened_out(cluster)
    before = {one: cluster.get(f"/v1/streams/{one}/timeline")["kept_to_s"] for one in STREAMS}
    cluster.near.dead.add("a")
    cluster.run(cluster.near.workers.pop("a").end())
    wait_for(lambda: set(STREAMS) <= set(stay.streams))
    for stream_id, kept_to_s in before.items():
        assert cluster.get(f"/v1/streams/{stream_id}/timeline")["kept_to_s"] == kept_to_s
        push(cluster, stream_id, "owl", 4000.0)
