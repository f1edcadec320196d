"""What alerts have told: one list of it, seen or not, over restarts, and gone with the stream."""

import base64
import json
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from command_line import vstream
from followed import Followed
from loopback_http import loopback_http
from one_thing import thing_jpeg
from processes import until
from redis_servers import redis_binary
from service import embedded, running_service

from app.client import ServiceClient
from app.server.keys import ScopedKey, new_key
from vstream.service.event import EventKind

MASTER = "correct-horse-battery"
YARD, HASH = new_key()
OWL = {"condition": "tell me when there is an owl", "confirmations": 1, "cooldown_s": 0}
STRETCH = {"from_s": 0, "to_s": 0.5}


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}"
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    return request.getfixturevalue("redis_server").url


def started(store, **more):
    scoped = [ScopedKey(name="yard", hash=HASH, streams=("yard",), can={"read"})]
    return running_service(model=embedded(), store=store, key=MASTER, scoped=scoped, **more)


def show(service, name, *things):
    """One second after the other, each judged by all alerts on the stream."""
    began_at = time.time() - 100
    for second, thing in enumerate(things):
        headers = {"X-Capture-Time": str(began_at + second)}
        path, jpeg = f"/v1/streams/{name}/frames", thing_jpeg(thing)
        service.http.post(path, content=jpeg, headers=headers).raise_for_status()
        until(lambda: all(n > second for n in judged(service, name)))  # noqa: B023


def judged(service, name):
    return [alert.num_judged for alert in service.alerts_on(name)]


def listed(service, **wanted):
    return service.get("/v1/firings", params=wanted)


def moments(told):
    return [(one["alert_id"], one["stream_id"], one["at_s"]) for one in told["data"]]


@pytest.fixture
def begun(store):
    """A service whose alert on a door has told twice, and whose other one also once on a yard."""
    with ExitStack() as running:
        service = running.enter_context(started(store))
        for name in ("door", "yard"):
            spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
            service.post("/v1/streams", {"id": name, **spec})
        one = service.post("/v1/alerts", {"stream_ids": ["door"], **OWL})["id"]
        both = service.post("/v1/alerts", {"stream_ids": ["door", "yard"], **OWL})["id"]
        show(service, "door", "owl", "burger", "burger", "owl")
        show(service, "yard", "owl")
        until(lambda: all(told["sentence"] for told in listed(service)["data"]))
        yield service, running.close, one, both


def test_all_alerts_have_one_list_and_who_has_seen_it_is_known_to_all(begun):
    service, _, one, both = begun
    told = listed(service)
    assert moments(told)[0] == (both, "yard", 0.0)
    on_door = {(name, "door", at_s) for name in (one, both) for at_s in (0.0, 3.0)}
    assert set(moments(told)[1:]) == on_door
    ids = [firing["id"] for firing in told["data"]]
    assert ids == sorted(ids, reverse=True)
    assert (told["unseen"], told["has_more"]) == (5, False)
    assert service.http.get(told["data"][0]["frame_url"]).status_code == 200
    first = listed(service, limit=3)
    rest = listed(service, limit=3, before=first["data"][-1]["id"])
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert first["data"] + rest["data"] == told["data"]
    assert len(listed(service, alert_id=both)["data"]) == 3
    assert len(listed(service, stream_id="yard")["data"]) == 1

    with ServiceClient(service.url, YARD) as of_yard:
        (seen,) = of_yard.firings().data
        assert (seen.stream_id, seen.is_seen) == ("yard", False)
        marked = of_yard.see_firings(ids)
        assert (marked.marked, marked.unseen) == (1, 0), "of other streams it marks none"
        assert of_yard.see_firings(ids).marked == 0
    assert [firing["is_seen"] for firing in listed(service)["data"]] == [True, *[False] * 4]
    assert ids[0] not in [firing["id"] for firing in listed(service, unseen=True)["data"]]
    assert service.post("/v1/firings/seen", {"up_to": ids[3]}) == {
        "object": "firings.seen",
        "marked": 2,
        "unseen": 2,
    }
    for wrong in ({}, {"ids": [1], "up_to": 1}):
        assert service.http.post("/v1/firings/seen", json=wrong).status_code == 422


def told_of(service, alert_id):
    """What of an alert is as it was after a restart."""
    document = service.get(f"/v1/alerts/{alert_id}")
    names = ("created_at", "fired", "last_fired_at", "firings")
    return {name: document[name] for name in names}


def test_a_service_that_starts_again_knows_what_it_has_told(begun, store):
    service, stop, one, both = begun
    service.post("/v1/firings/seen", {"ids": [listed(service)["data"][2]["id"]]})
    told = listed(service), told_of(service, one), told_of(service, both)
    assert (told[1]["fired"], told[2]["fired"]) == (2, 3)
    stop()
    with started(store) as again:
        assert (listed(again), told_of(again, one), told_of(again, both)) == told
        again.delete("/v1/streams/yard", params={"purge": True})
        again.delete(f"/v1/alerts/{one}")
        assert moments(listed(again)) == [(both, "door", 3.0), (both, "door", 0.0)]
    with started(store) as at_last:
        assert moments(listed(at_last)) == [(both, "door", 3.0), (both, "door", 0.0)]


def test_firings_go_with_what_is_forgotten(begun, store):
    service, stop, one, both = begun
    service.delete("/v1/streams/door/memory", params=STRETCH)
    left = [(both, "yard", 0.0), (both, "door", 3.0), (one, "door", 3.0)]
    assert sorted(moments(listed(service))) == sorted(left)
    assert told_of(service, one)["fired"] == 2, "how often is no moment"
    stop()
    with started(store, max_streams=1) as full:
        assert full.get("/v1/streams")["stored"] == ["yard"]
        full.delete("/v1/streams/yard/memory", params=STRETCH)
    with started(store) as at_last:
        assert sorted(moments(listed(at_last))) == sorted(left[1:])


def test_firings_go_by_the_clock_where_no_block_is_left(begun):
    """As where a service was killed between its blocks and its firings."""
    service, _, one, both = begun
    (at,) = {
        told["at"]
        for told in listed(service)["data"]
        if told["stream_id"] == "door" and told["at_s"] == 0
    }
    session = service.service_of("door").loaded.streams.get("door").session
    assert session.forget(0.0, 0.5) == 1
    stretch = {"from": str(at - 0.5), "to": str(at + 0.5)}
    gone = service.delete("/v1/streams/door/memory", params=stretch)
    assert (gone["blocks"], gone["from_s"], gone["to_s"]) == (0, 0.0, pytest.approx(0.5, abs=1e-5))
    left = [(both, "yard", 0.0), (both, "door", 3.0), (one, "door", 3.0)]
    assert sorted(moments(listed(service))) == sorted(left)
    told = [one for one in events_since(service, since="-10m") if one["stream_id"] == "door"]
    assert {one["data"]["at_s"] for one in told} == {3.0}


def test_the_command_line_forgets_firings_and_events(begun, store):
    _, stop, *_ = begun
    stop()
    gone = ("forget", "door", "--from", "0", "--to", "0:01", "--yes", "--store", store)
    run = vstream(*gone)
    assert run.code == 0, run.err
    assert "may remain" not in run.err
    with started(store) as again:
        assert ("door", 0.0) not in [moment[1:] for moment in moments(listed(again))]
        told = [one for one in events_since(again, since="-10m") if "at_s" in one["data"]]
        assert sorted({(one["stream_id"], one["data"]["at_s"]) for one in told}) == [
            ("door", 3.0),
            ("yard", 0.0),
        ]


def test_a_key_that_may_see_no_stream_is_told_nothing(begun):
    service, *_ = begun
    assert httpx.get(f"{service.url}/v1/firings").status_code == 401


def events_since(service, **asked):
    """Those of alerts that had happened by now, from some time on."""
    headers = {"Authorization": f"Bearer {MASTER}", "Last-Event-ID": asked.pop("last", None)}
    headers = {name: value for name, value in headers.items() if value}
    told = Followed("GET", f"{service.url}/v1/events", params=asked, headers=headers)
    last = service.service.events.publish(EventKind.RECAP_MADE, None, {})
    until(lambda: last.at in [one["at"] for one in map(json.loads, told.data)])
    return [one for one in map(json.loads, told.data) if one["type"].startswith("alert.")]


def test_events_go_on_over_a_restart(begun, store):
    service, stop, *_ = begun
    before = events_since(service, since="-10m")
    assert [event["type"] for event in before].count("alert.fired") == 5
    service.delete("/v1/streams/door/memory", params=STRETCH)
    kept = events_since(service, since="-10m")
    assert 0 < len(kept) < len(before)
    stop()
    with started(store) as again:
        assert events_since(again, since="-10m") == kept
        third = str(kept[2]["id"])
        assert events_since(again, since=third) == kept[3:]
        assert events_since(again, last=third, since="-10m") == kept[3:]
        again.delete("/v1/streams/door", params={"purge": True})
    with started(store) as at_last:
        told = events_since(at_last, since="-10m")
        assert {one["stream_id"] for one in told if "at_s" in one["data"]} == {"yard"}
        for wrong in ("soon", "2999-01-01", " "):
            assert at_last.http.get("/v1/events", params={"since": wrong}).status_code == 400


def test_webhooks_link_to_the_service_and_bring_the_picture_if_asked(monkeypatch):
    public = "https://cameras.example.org"
    with (
        loopback_http(lambda request: (204, {}, b"")) as receiver,
        started("memory://", allow_private=True, public_url=public) as service,
    ):
        spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
        service.post("/v1/streams", {"id": "door", **spec})
        hooks = [{"url": f"{receiver.url}/{kind}"} for kind in ("plain", "pictured")]
        hooks[1]["picture"] = True
        made = service.post("/v1/alerts", {"stream_ids": ["door"], **OWL, "actions": hooks})
        assert [one["picture"] for one in made["actions"]] == [False, True]
        sentences = service.service.loaded.alerts._sentences
        monkeypatch.setattr(sentences, "go_on", lambda: None)  # until there is a newer picture
        show(service, "door", "burger", "owl", "burger")
        monkeypatch.undo()
        until(lambda: len(receiver.requests) == 2)
        told = {one.path: json.loads(one.body)["data"] for one in receiver.requests}
        (firing,) = listed(service)["data"]
        shown = service.http.get(firing["frame_url"]).content
        for one in told.values():
            assert one["frame_url"] == public + firing["frame_url"]
            assert one["clip_url"] == public + firing["clip_url"]
        assert "picture" not in told["/plain"]
        kind, _, picture = told["/pictured"]["picture"].partition(",")
        assert (kind, base64.b64decode(picture)) == ("data:image/jpeg;base64", shown)


def test_who_was_not_told_when_a_service_ended_is_told_by_the_next(store):
    """Of what is not forgotten meanwhile."""
    is_there = threading.Event()
    with loopback_http(lambda request: (204 if is_there.is_set() else 503, {}, b"")) as receiver:
        with started(store, allow_private=True) as service:
            spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
            service.post("/v1/streams", {"id": "door", **spec})
            actions = [{"url": f"{receiver.url}/hook"}]
            service.post("/v1/alerts", {"stream_ids": ["door"], **OWL, "actions": actions})
            show(service, "door", "owl", "burger", "burger", "owl")
            until(lambda: len({one.headers["webhook-id"] for one in receiver.requests}) == 2)
            service.delete("/v1/streams/door/memory", params=STRETCH)
        is_there.set()
        before = len(receiver.requests)
        with started(store, allow_private=True):
            until(lambda: len(receiver.requests) > before)
    first, last = receiver.requests[0], receiver.requests[-1]
    assert len(receiver.requests) == before + 1
    assert last.headers["webhook-id"] != first.headers["webhook-id"]
    assert json.loads(last.body)["data"]["at_s"] == 3.0
    tries = [one.headers["webhook-id"] for one in receiver.requests[:before]]
    assert last.headers["webhook-id"] in tries
