"""The client over HTTP: streams told what to do, and their history as it is drawn."""

import io
import json

import pytest
from PIL import Image
from service import running_service
from slow_web import thinking
from synthetic_video import picture

from app.client import ServiceClient, ServiceError
from app.server.moment_documents import FoundSpanDocument, FoundSpans

LENGTH_S = 20


@pytest.fixture(scope="module")
def service():
    with running_service() as running:
        yield running


@pytest.fixture(scope="module")
def client(service):
    with ServiceClient(service.url) as client:
        yield client


@pytest.fixture(scope="module")
def door(service, client):
    """A stream with a block for each of twenty seconds."""
    sampling = {"fps": 1, "dedup": 0}
    client.create_stream("door", {"type": "push"}, sampling=sampling)
    for second in range(LENGTH_S):
        headers = {"X-Capture-Time": str(1.7e9 + second)}
        pushed = {"content": jpeg(second), "headers": headers}
        assert service.http.post("/v1/streams/door/frames", **pushed).json()["accepted"]
        service.await_stream("door", lambda told: told["memory"]["blocks"] > second)  # noqa: B023
    return "door"


def jpeg(number):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG")
    return buffer.getvalue()


def blocks(timeline):
    return sum(part.blocks for part in timeline.parts)


def test_a_stream_is_paused_resumed_and_restarted(service, client):
    client.create_stream("gate", {"type": "push"})
    assert client.pause("gate").state == "paused"
    with pytest.raises(ServiceError) as refused:
        client.push("gate", jpeg(0))
    assert refused.value.code == "STREAM_PAUSED"
    assert client.resume("gate").state != "paused"
    assert client.push("gate", jpeg(0))
    assert client.restart("gate").restarts == 1
    with pytest.raises(ServiceError) as unknown:
        client.pause("nowhere")
    assert unknown.value.status == 404
    client.delete_stream("gate")


def test_a_whole_history_is_what_is_kept(client, door):
    whole = client.timeline(door)
    assert (whole.from_s, whole.to_s) == (whole.kept_from_s, whole.kept_to_s) == (0, LENGTH_S - 1)
    assert blocks(whole) == LENGTH_S


@pytest.mark.parametrize("span", [(5, 12), (0, 0), (None, 3), (15.5, None), (18, 99)])
def test_a_stretch_is_drawn_alone_and_the_whole_is_told_beside(client, door, span):
    from_s, to_s = span
    seen = client.timeline(door, parts=4, from_s=from_s, to_s=to_s)
    within = [
        s for s in range(LENGTH_S) if (from_s or 0) <= s <= (LENGTH_S if to_s is None else to_s)
    ]
    assert (seen.from_s, seen.to_s) == (within[0], within[-1])
    assert blocks(seen) == len(within)
    assert len(seen.parts) <= 4
    assert (seen.kept_from_s, seen.kept_to_s) == (0, LENGTH_S - 1)


@pytest.mark.parametrize("span", [(50, 60), (99, None), (7.2, 7.4), (12, 5)])
def test_of_a_stretch_outside_of_what_is_kept_nothing_is_drawn(client, door, span):
    seen = client.timeline(door, from_s=span[0], to_s=span[1])
    assert (seen.parts, seen.from_s, seen.to_s) == ([], 0, 0)
    assert (seen.kept_from_s, seen.kept_to_s) == (0, LENGTH_S - 1)


def test_by_the_clock_it_is_the_same(service, door):
    path = f"/v1/streams/{door}/timeline"
    seen = service.get(path, params={"from": str(1.7e9 + 5), "to": str(1.7e9 + 12)})
    assert (seen["from_s"], seen["to_s"]) == (5, 12)
    seen = service.get(path, params={"from": "-10m"})
    assert (seen["parts"], seen["kept_to_s"]) == ([], LENGTH_S - 1)


def test_an_alert_is_changed(client, door):
    made = client.add_alert(door, "tell me when an owl is there", cooldown_s=7)
    changed = client.change_alert(made.id, every_s=2)
    assert (changed.id, changed.every_s, changed.cooldown_s) == (made.id, 2, 7)
    client.delete_alert(made.id)


def test_a_stream_that_has_seen_nothing_has_no_history(client):
    client.create_stream("new", {"type": "push"})
    seen = client.timeline("new", from_s=3)
    assert (seen.parts, seen.kept_from_s, seen.kept_to_s) == ([], 0, 0)
    client.delete_stream("new")


def test_a_question_may_wait_longer_for_its_first_token_than_other_calls(monkeypatch):
    monkeypatch.setattr("app.client._TIMEOUT_S", 0.3)
    choice = {"index": 0, "delta": {"content": "an owl"}, "finish_reason": None}
    line = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n"
    with thinking(1.0, line.encode()) as url, ServiceClient(url) as client:
        *_, answer = client.ask([{"role": "user", "content": "what?"}], ["stream://door"])
        assert answer.text == "an owl"
        with pytest.raises(ServiceError):
            client.streams()


def test_what_is_found_comes_as_it_is_found_and_at_last_the_whole(client, door):
    *came, whole = client.find("a cup is there now", [door], from_s=5.0, to_s=12.0)
    spans = [one for one in came if isinstance(one, FoundSpanDocument)]
    assert isinstance(whole, FoundSpans)
    assert spans == [one for one in whole.data if one.is_whole]
    assert whole.coverage[door][0].from_s == 5.0
    with pytest.raises(ServiceError) as refused:
        next(client.find("a cup is there now", ["nowhere"]))
    assert refused.value.status == 404
