"""Standing questions on streams whose every second is known: told in time, once, to everybody."""

import base64
import hashlib
import hmac
import io
import json
import time

import numpy as np
import pytest
from followed import Followed
from loopback_http import loopback_http
from PIL import Image
from processes import until
from service import running_service

from eval.stream_world import History, Renderer, write_script
from vstream import load_video_llm

SEEDS = {"lobby": 300, "yard": 301}
LENGTH_S = 56
COMES_TWICE, COMES_ONCE, NEVER_COMES = "crab", "square", "bee"
SCRIPTS = {name: write_script(seed, LENGTH_S) for name, seed in SEEDS.items()}

FIRED = "alert.fired"


def onsets(stream_id, name):
    """When it comes into view, as the script has it."""
    history = History.of(SCRIPTS[stream_id])
    return [history.span(one[0], one[-1]).start_s for one in history.appearances(name)]


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


@pytest.fixture
def service(model):
    with running_service(model=model, allow_private=True) as running:
        yield running


@pytest.fixture
def streams(service):
    for stream_id in SEEDS:
        create(service, stream_id)
    return service


def create(service, stream_id, fps=1):
    spec = {"id": stream_id, "source": {"type": "push"}, "sampling": {"fps": fps, "dedup": 0}}
    service.post("/v1/streams", spec)


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def play(service, stream_ids=tuple(SCRIPTS), length_s=LENGTH_S):
    """Push streams second by second; no second before all alerts have judged the last."""
    began_at, renderer = time.time() - length_s, Renderer()
    for second in range(length_s):
        for stream_id in stream_ids:
            script = SCRIPTS[stream_id]
            answer = service.http.post(
                f"/v1/streams/{stream_id}/frames",
                content=jpeg(renderer.frame(script.moments[second])),
                headers={"X-Capture-Time": str(began_at + second)},
            )
            assert answer.json()["accepted"], answer.text
        until(lambda: all_judged(service, second))  # noqa: B023
    return began_at


def all_judged(service, second):
    alerts = service.alerts_on("lobby")
    return all(alert.num_judged + alert.num_skipped > second for alert in alerts)


def alert_on(service, name, *stream_ids, **more):
    wanted = {"stream_ids": stream_ids, "condition": f"tell me when you see the {name}", **more}
    return service.post("/v1/alerts", wanted)


def test_when_to_tell_is_chosen_by_name(service):
    create(service, "hall", fps=1)
    kept = alert_on(service, "owl", "hall", rule="silence", threshold=0.6)
    assert kept["rule"] == "silence"
    refused = service.http.post(
        "/v1/alerts", json={"stream_ids": ["hall"], "condition": "an owl?", "rule": "never"}
    )
    assert refused.status_code == 422
    assert "known: k_of_n, silence" in refused.json()["error"]["message"]


def is_signed(request, secret):
    """As the specification says it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    name, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    signed = f"{name}.{at}.".encode() + request.body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return request.headers["webhook-signature"] == f"v1,{digest}"


def test_every_arrival_is_told_once_in_time_and_with_its_moment(streams):
    service = streams
    listener = Followed("GET", f"{service.url}/v1/events")
    with loopback_http(lambda request: (204, {}, b"")) as receiver:
        actions = [{"type": "webhook", "url": f"{receiver.url}/hook"}]
        alerts = {
            "twice": alert_on(service, COMES_TWICE, "lobby", actions=actions),
            "once": alert_on(service, COMES_ONCE, "lobby"),
            "both": alert_on(service, COMES_TWICE, "lobby", "yard"),
            "cooling": alert_on(service, COMES_TWICE, "lobby", cooldown_s=LENGTH_S),
            "never": alert_on(service, NEVER_COMES, "lobby", "yard"),
        }
        began_at = play(service)
        until(lambda: len(receiver.requests) >= 2)
    twice, once = onsets("lobby", COMES_TWICE), onsets("lobby", COMES_ONCE)
    assert (len(twice), len(once)) == (2, 1)
    wanted = {
        "twice": [("lobby", at_s) for at_s in twice],
        "once": [("lobby", at_s) for at_s in once],
        "both": sorted((name, at_s) for name in SEEDS for at_s in onsets(name, COMES_TWICE)),
        "cooling": [("lobby", twice[0])],
        "never": [],
    }
    fired = listener.events("alert.fired")
    until(lambda: len(listener.events("alert.described")) == len(fired))
    described = [event["data"] for event in listener.events("alert.described")]
    said = {(one["alert_id"], one["stream_id"], one["at_s"]): one["sentence"] for one in described}
    for name, alert in alerts.items():
        told = [event["data"] for event in fired if event["data"]["alert_id"] == alert["id"]]
        came = sorted((one["stream_id"], one["at_s"]) for one in told)
        assert len(came) == len(wanted[name]), (name, came, wanted[name])
        for (stream_id, at_s), (wanted_id, onset_s) in zip(came, wanted[name], strict=True):
            assert stream_id == wanted_id
            assert 0 <= at_s - onset_s <= alert["every_s"]
        for one in told:
            assert one["at"] == pytest.approx(began_at + one["at_s"], abs=0.01)
            shown = [(cited["start_s"], cited["end_s"]) for cited in one["evidence"]]
            assert any(start_s <= one["at_s"] <= end_s for start_s, end_s in shown), one
        record = service.get(f"/v1/alerts/{alert['id']}")
        assert record["fired"] == len(told)
        for kept, one in zip(record["firings"], reversed(told), strict=True):
            same = ("stream_id", "at", "at_s", "probability", "frame_url", "clip_url")
            assert [kept[name] for name in same] == [one[name] for name in same]
            shown = service.http.get(kept["frame_url"])
            assert float(shown.headers["x-stream-time"]) == pytest.approx(one["at_s"])
            assert shown.headers["content-type"] == "image/jpeg"
            assert said[alert["id"], kept["stream_id"], kept["at_s"]] == kept["sentence"]
    assert all(COMES_TWICE in said[key] for key in said if key[0] == alerts["both"]["id"])
    assert all(is_signed(request, alerts["twice"]["secret"]) for request in receiver.requests)
    posted = [json.loads(request.body) for request in receiver.requests]
    assert [one["type"] for one in posted] == ["alert.fired"] * 2
    assert [one["data"]["at_s"] for one in posted] == [
        event["data"]["at_s"]
        for event in fired
        if event["data"]["alert_id"] == alerts["twice"]["id"]
    ]
    of_twice = [one for one in described if one["alert_id"] == alerts["twice"]["id"]]
    for one, whole in zip(posted, of_twice, strict=True):  # one that waited too long goes without
        without = {**whole, "sentence": None, "from_s": None}
        assert one["data"] in (whole, without)
    assert service.figure("vstream_alert_fired_total", stream_id="lobby") == len(
        [event for event in fired if event["stream_id"] == "lobby"]
    )


def test_a_clip_shows_the_seconds_around_a_moment(streams):
    service = streams
    alert_on(service, NEVER_COMES, "lobby")  # no frame is dropped: they are waited for
    play(service, ["lobby"], 28)
    told = service.http.get("/v1/streams/lobby/clip.webp?t_s=20")
    assert told.headers["content-type"] == "image/webp"
    shown = Image.open(io.BytesIO(told.content))
    renderer, length_ms = Renderer(), 0
    for number in range(shown.n_frames):  # those that are alike are one
        shown.seek(number)
        seen = np.asarray(shown.convert("RGB"), dtype=float)
        second = 14 + shown.info["timestamp"] // 1000
        wanted = Image.fromarray(renderer.frame(SCRIPTS["lobby"].moments[second]))
        assert np.abs(seen - np.asarray(wanted.resize(shown.size), dtype=float)).mean() < 8
        length_ms += shown.info["duration"]
    assert length_ms == 9000
    service.http.delete("/v1/streams/lobby/memory?from_s=0&to_s=18")
    told = service.http.get("/v1/streams/lobby/clip.webp?t_s=20")
    assert 1 < Image.open(io.BytesIO(told.content)).n_frames <= 4
    service.http.delete("/v1/streams/lobby/memory?from_s=0&to_s=100")
    assert service.http.get("/v1/streams/lobby/clip.webp?t_s=20").status_code == 404


def test_firings_are_forgotten_with_what_was_seen(streams):
    service = streams
    listener = Followed("GET", f"{service.url}/v1/events")
    alert = alert_on(service, COMES_TWICE, "lobby", "yard")
    play(service)
    until(lambda: len(listener.events("alert.described")) == len(listener.events("alert.fired")))
    first = onsets("lobby", COMES_TWICE)[0]

    def told():
        kept = service.get(f"/v1/alerts/{alert['id']}")["firings"]
        again = Followed("GET", f"{service.url}/v1/events", headers={"Last-Event-ID": "0"})
        until(lambda: len(again.events("alert.described")) == len(kept))
        events = {
            (one["data"]["stream_id"], one["data"]["at_s"]): one["data"]["sentence"]
            for one in again.events("alert.described")
        }
        assert events == {(one["stream_id"], one["at_s"]): one["sentence"] for one in kept}
        fired = [(one["data"]["stream_id"], one["data"]["at_s"]) for one in again.events(FIRED)]
        assert sorted(fired) == sorted(events)
        return events

    before = told()
    assert all(before.values())
    service.http.delete(f"/v1/streams/lobby/memory?from_s=0&to_s={first + 3}")
    after = told()
    gone = {of for of in before if of[0] == "lobby" and of[1] <= first + 3}
    assert before.keys() - after.keys() == gone
    unsaid = {of for of, sentence in after.items() if sentence is None}
    assert unsaid == {of for of in after if of[0] == "lobby" and of[1] <= first + 9}
    service.http.delete("/v1/streams/lobby?purge=true")
    assert told() == {of: before[of] for of in before if of[0] == "yard"}


def test_an_alert_is_changed_where_it_is(streams):
    service = streams
    with loopback_http(lambda request: (204, {}, b"")) as receiver:
        hook = {"type": "webhook", "url": f"{receiver.url}/hook"}
        made = alert_on(service, COMES_TWICE, "lobby", actions=[hook])
        path = f"/v1/alerts/{made['id']}"

        def change(**wanted):
            answer = service.http.patch(path, json=wanted)
            return answer.status_code, answer.json()

        until_s = time.time() + 3600
        status, told = change(cooldown_s=60, until=until_s, actions=[hook])
        assert status == 200
        same = made | {"cooldown_s": 60, "until": pytest.approx(until_s, abs=0.01)}
        assert told == same | {"secret": None}
        assert change(until=None)[1]["until"] is None
        other = hook | {"url": f"{receiver.url}/other"}
        assert change(actions=[hook, other])[1]["secret"] not in (None, made["secret"])
        (record,) = service.service.loaded.alerts.all()
        assert record.spec.actions[0].secret == made["secret"]
        for wrong in (
            {"cooldown_s": -1},
            {"every_s": None},
            {"stream_ids": None},
            {"condition": ""},
            {"rule": "never"},
            {"more": 1},
            {"until": "yesterday"},
        ):
            assert change(**wrong)[0] in (400, 422), wrong
        assert change(rule="silence", confirmations=2)[0] in (400, 422)
        assert change(stream_ids=["nowhere"])[0] == 404
        assert (
            change(condition=f"tell me when you see the {COMES_ONCE}", stream_ids=["yard"])[0]
            == 200
        )
        told = service.get(path)
        assert (told["stream_ids"], told["cooldown_s"], told["rule"]) == (["yard"], 60, None)
    assert service.http.patch("/v1/alerts/nowhere", json={}).status_code == 404


def test_an_alert_ends_with_its_time_and_with_its_streams(streams):
    service = streams
    listener = Followed("GET", f"{service.url}/v1/events")
    timed = alert_on(service, COMES_TWICE, "lobby", until=time.time() + 0.5)
    one = alert_on(service, COMES_TWICE, "lobby")
    both = alert_on(service, COMES_TWICE, "lobby", "yard")
    until(lambda: listener.events("alert.ended"))
    service.delete("/v1/streams/lobby")
    until(lambda: len(listener.events("alert.ended")) == 2)
    assert service.http.get(f"/v1/alerts/{both['id']}").status_code == 200
    service.delete("/v1/streams/yard")
    until(lambda: len(listener.events("alert.ended")) == 3)
    ended = [event["data"] for event in listener.events("alert.ended")]
    ended = [(told["alert_id"], told["reason"]) for told in ended]
    assert ended == [
        (timed["id"], "until"),
        (one["id"], "stream deleted"),
        (both["id"], "stream deleted"),
    ]
    assert service.get("/v1/alerts")["data"] == []


def test_no_stream_waits_for_its_alerts(service):
    """More alerts than can be judged: the frames are remembered all the same. A machine that halts
    for a fifth of a second costs the frame of that fifth, and it is counted.
    """
    create(service, "lobby", fps=5)
    for number in range(50):
        alert_on(service, f"crab number {number}", "lobby", every_s=0.2)
    renderer, count = Renderer(), 30
    pictures = [jpeg(renderer.frame(moment)) for moment in SCRIPTS["lobby"].moments[:count]]
    began_at = time.time()
    for number, picture in enumerate(pictures):
        at = began_at + number / 5
        time.sleep(max(0.0, at - time.time()))
        headers = {"X-Capture-Time": str(at)}
        answer = service.http.post("/v1/streams/lobby/frames", content=picture, headers=headers)
        assert answer.json()["accepted"], answer.text

    def all_seen(told):
        return told["memory"]["blocks"] + told["dropped"]["stale"] == count

    told = service.await_stream("lobby", all_seen)
    assert told["memory"]["blocks"] >= count // 10
    until(lambda: service.figure("vstream_alert_judgements_total", stream_id="lobby") > 50)
    assert service.figure("vstream_alert_skipped_total", stream_id="lobby") > 0
