"""/v1/events as its clients use it: followed, filtered, left, and resumed where they left."""

import threading

import pytest
from event_listener import EventListener
from processes import until
from service import embedded, running_service

from app.server.keys import ApiKeys
from app.server.service import Service
from app.server.settings import load_settings
from memory import tier_of
from vstream.service.event import EventKind

NUM_EVENTS = 60


@pytest.fixture(scope="module")
def service():
    with running_service(max_listeners=3) as running:
        for stream_id in ("door", "yard"):
            running.post("/v1/streams", {"id": stream_id, "source": {"type": "push"}})
        yield running


def forget(service, number, stream_id="door"):
    """Makes an event that can be told from others by its `from_s`."""
    span = {"from_s": number, "to_s": number + 0.5}
    service.delete(f"/v1/streams/{stream_id}/memory", params=span)


def numbers(events):
    return [int(event["data"]["from_s"]) for event in events if event["type"] == "memory.forgotten"]


def test_a_client_that_comes_back_misses_nothing_and_gets_nothing_twice(service):
    """It leaves at any moment, while events go on, and says which was the last that it has seen."""
    publish = threading.Thread(target=lambda: [forget(service, n) for n in range(NUM_EVENTS)])
    seen, last_id = [], service.service.events.publish("gap", None, {}).id
    for leave_after in (5, 15, 30, NUM_EVENTS):
        with EventListener(service.url, last_id=last_id) as listener:
            if not seen:
                publish.start()
            wanted = leave_after - len(seen)
            listener.await_events(lambda events, wanted=wanted: len(numbers(events)) >= wanted)
        assert [event["id"] for event in listener.events] == listener.ids
        seen += numbers(listener.events)
        last_id = listener.ids[-1] if listener.ids else last_id
    publish.join()
    assert seen == list(range(NUM_EVENTS))
    until(lambda: service.events.num_readers == 0)


def test_a_client_hears_of_the_stream_and_kind_that_it_asks_for(service):
    with (
        EventListener(service.url, stream_id="yard") as of_yard,
        EventListener(service.url, kind="stream.state") as of_states,
    ):
        forget(service, 1)
        service.post("/v1/streams/yard/pause")
        forget(service, 2, "yard")
        of_yard.await_events(lambda events: numbers(events) == [2])
        told = of_states.await_events(lambda events: bool(events))
        assert {event["stream_id"] for event in of_yard.events} == {"yard"}
        assert {event["type"] for event in told} == {"stream.state"}
        assert (told[0]["data"]["state"], told[0]["stream_id"]) == ("paused", "yard")
        assert "event: stream.state\n" in of_states.text
    service.post("/v1/streams/yard/resume")


def test_who_asks_for_what_is_gone_is_told_so(service):
    with EventListener(service.url, last_id=1) as late:
        events = late.await_events(lambda events: len(events) >= 2)
    assert events[0]["type"] == "gap"
    assert events[1]["type"] == "stream.created"


def test_listeners_are_bounded(service):
    with EventListener(service.url), EventListener(service.url), EventListener(service.url):
        until(lambda: service.events.num_readers == 3)
        refused = service.http.get("/v1/events")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
    until(lambda: service.events.num_readers == 0)


def test_listening_ends_with_the_service():
    with running_service() as short, EventListener(short.url) as listener:
        short.end_events()
        listener.await_end()


def made(store, **more):
    """A service of which nobody listens to HTTP."""
    settings = load_settings(None, memory={"store": store}, threads=1, **more)
    service = Service(settings, ApiKeys(None))
    service._load_model = embedded
    return service


def test_events_are_kept_once_a_store_is_back_that_was_away_at_the_start(valkey_server):
    valkey_server.kill()
    try:
        service = made(valkey_server.url)
    finally:
        valkey_server.start()
    service.load()
    event = service.events.publish(EventKind.STREAM_DELETED, "door", {"purged": False})
    service.close()
    with tier_of(valkey_server.url).lines("events", 16) as lines:
        assert lines.read() == [event.line]


def test_moments_of_streams_that_another_service_watches_are_its_to_tell(valkey_server):
    """It forgets them without this one."""
    kinds = (EventKind.ALERT_FIRED, {"at_s": 1.0}), (EventKind.STREAM_STATE, {"state": "running"})
    before = made(valkey_server.url)
    for stream_id in ("door", "yard"):
        for kind, data in kinds:
            before.events.publish(kind, stream_id, data)
    before.events.let_go()
    service = made(valkey_server.url, streams=[{"id": "yard", "source": {"type": "push"}}])
    service.load()
    told = [
        (event.stream_id, event.kind.value)
        for event in service.events._ring
        if not event.is_forgotten
    ]
    service.close()
    told_of_yard = ("yard", "alert.fired"), ("yard", "stream.state")
    assert told[:3] == [("door", "stream.state"), *told_of_yard]
