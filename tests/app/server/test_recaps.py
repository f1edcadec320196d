"""POST /v1/recaps, and reports at a time of day: by webhook, as events, once each."""

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from event_listener import published
from loopback_http import loopback_http
from owl_stream import VISITS, push_owl
from pydantic import ValidationError
from service import running_service

from app.client import ServiceClient
from vstream.service.event import EventKind
from vstream.service.recap_spec import RecapSpec
from vstream.service.recaps import LATE_S, Recaps
from vstream.service.webhook_delivery import new_secret

ZONE = "Europe/Prague"
PUBLIC = "https://cameras.example.org/at"
BEGAN = datetime(2023, 11, 14, 7, 29, tzinfo=ZoneInfo(ZONE)).timestamp()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    store = f"file://{tmp_path_factory.mktemp('recaps')}"
    with running_service(store=store, allow_private=True, public_url=f"{PUBLIC}/") as running:
        push_owl(running, BEGAN, timezone=ZONE)
        source = {"source": {"type": "push"}, "timezone": ZONE}
        running.post("/v1/streams", {"id": "gate", **source})
        yield running


def test_entries_come_one_by_one_and_then_the_whole(service):
    asked = {"stream_ids": ["door"], "stream": True}
    with service.http.stream("POST", "/v1/recaps", json=asked) as response:
        lines = [line for line in response.iter_lines() if line]
    kinds = [line[7:] for line in lines if line.startswith("event: ")]
    data = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    told = [one for one in zip(kinds, data, strict=True) if one[0] != "progress"]
    assert [kind for kind, _ in told] == ["entry", "entry", "done"]
    *entries, whole = [one for _, one in told]
    assert sorted(entries, key=lambda one: one["from_s"]) == whole["data"]
    assert whole["title"] == (
        "2 things came or left: door, 2023-11-14 07:29:00 to 07:29:39 (Europe/Prague)"
    )
    for entry, visit in zip(whole["data"], VISITS, strict=True):
        assert "owl" in entry["sentence"]
        assert (entry["from_s"], entry["to_s"]) == (visit.start, visit.stop)
        assert service.http.get(entry["frame_url"]).content.startswith(b"\xff\xd8")
    again = service.post("/v1/recaps", {})
    assert again["data"] == whole["data"]
    with ServiceClient(service.url) as client:
        *_, told = client.recap(["door"], to_s=VISITS[0].stop)
    assert [entry.model_dump(by_alias=True) for entry in told.data] == whole["data"][:1]
    assert again["judged"] == 0
    assert set(again["coverage"]) == {"door", "gate"}


def test_a_stretch_by_the_clock_counts(service):
    asked = {"stream_ids": ["door"], "from": "2023-11-14T07:29:20+01:00"}
    [entry] = service.post("/v1/recaps", asked)["data"]
    assert entry["from"] == "2023-11-14T06:29:28.000Z"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"stream_ids": ["yard"]}, 404), ({"effort": "all"}, 422), ({"from": "sometime"}, 400)],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_is_wrong_is_said_before_anything_is_streamed(service, wrong, status, is_streamed):
    asked = {"stream_ids": ["door"], **wrong, "stream": is_streamed}
    assert service.http.post("/v1/recaps", json=asked).status_code == status


class Clock:
    """Reports of a running service, at whatever time it is."""

    def __init__(self, service, **spec):
        self.now, self.services = BEGAN, service.services
        self.recaps = [
            Recaps(
                one.loaded.streams,
                one.events,
                [RecapSpec(at="07:30", **spec)],
                zone_of=one.loaded.zone_of,
                on_made=one.loaded.send_recap,
                clock=lambda: self.now,
            )
            for one in service.services
        ]

    def look(self, hours, minutes):
        """At a time of the day; the streams of which it was told then."""
        day = datetime.fromtimestamp(self.now, ZoneInfo(ZONE))
        self.now = day.replace(hour=hours, minute=minutes, second=1).timestamp()
        before = len(told_of(self.services))
        for recaps in self.recaps:
            recaps.make_due()
        return told_of(self.services)[before:]


def told_of(services):
    told = [one for service in services for one in published(service.events)]
    return [one for one in told if one.kind is EventKind.RECAP_MADE]


def test_a_report_is_made_once_a_day_also_by_a_service_that_starts_again(service):
    with loopback_http(lambda request: (204, {}, b"")) as receiver:
        secret = new_secret()
        actions = [{"url": f"{receiver.url}/hook", "secret": secret}]
        clock = Clock(service, actions=actions)
        assert not clock.look(7, 29)  # of the day before it is too late
        told = clock.look(7, 30)
        assert {event.stream_id: event.data["entries"] for event in told} == {"door": 2, "gate": 0}
        assert all("owl" not in str(event.data) for event in told)
        assert not clock.look(7, 31)
        assert not Clock(service, actions=actions).look(7, 40)  # as after a restart
        assert Clock(service, id="other").look(7, 40)
        for one in service.services:
            one.webhooks.close()
        [request] = receiver.requests
    message = json.loads(request.body)
    assert message["type"] == "recap.made"
    data = message["data"]
    assert (data["from"], data["to"]) == ("2023-11-13T06:30:00.000Z", "2023-11-14T06:30:00.000Z")
    assert data["recap_id"] == "daily"
    assert [entry["stream_id"] for entry in data["data"]] == ["door", "door"]
    shown = [entry["frame_url"] for entry in data["data"]]
    assert all(url.startswith(f"{PUBLIC}/v1/streams/door/frame.jpg?") for url in shown)


def test_what_was_missed_for_long_is_not_made_up_for(service):
    clock = Clock(service, id="late")
    assert not clock.look(9, 0)
    clock.now += LATE_S * 21
    assert clock.look(8, 15)  # of the next day, and nothing has come since
    clock = Clock(service, id="only", stream_ids=("gate", "elsewhere"))
    assert [event.stream_id for event in clock.look(7, 45)] == ["gate"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "7:30"},
        {"at": "24:00"},
        {"at": "07:30", "timezone": "Prague"},
        {"at": "07:30", "actions": [{"url": "http://127.0.0.1/hook"}]},
        {
            "at": "07:30",
            "actions": [{"url": "http://a/", "secret": "whsec_" + "A" * 32, "picture": True}],
        },
    ],
)
def test_a_report_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        RecapSpec.model_validate(wrong)
