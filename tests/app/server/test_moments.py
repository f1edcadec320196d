"""POST /v1/moments: spans as they are found, and nothing for who may not ask or has gone."""

import json
import time

import pytest
from owl_stream import VISITS, push_owl
from service import running_service

OWL = {"statement": "an owl is there now", "stream_ids": ["door"], "milliseconds": 60_000}


@pytest.fixture(scope="module")
def service():
    with running_service() as running:
        push_owl(running)
        yield running


def events_of(service, document):
    with service.http.stream("POST", "/v1/moments", json={**document, "stream": True}) as response:
        lines = [line for line in response.iter_lines() if line]
    kinds = [line[7:] for line in lines if line.startswith("event: ")]
    data = [line[6:] for line in lines if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [
        (kind, json.loads(one)) for kind, one in zip(kinds, data, strict=True) if kind != "progress"
    ]


def test_spans_come_one_by_one_and_then_the_whole(service):
    *spans, (kind, whole) = events_of(service, OWL)
    assert kind == "done"
    assert [one for one, _ in spans] == ["span"] * len(VISITS)
    assert sorted((span["from_s"], span["to_s"]) for _, span in spans) == [
        (visit.start, visit.stop) for visit in VISITS
    ]
    assert whole["data"] == sorted((span for _, span in spans), key=lambda one: one["from_s"])
    for span in whole["data"]:
        assert service.http.get(span["frame_url"]).content.startswith(b"\xff\xd8")
        assert span["from"] == "2023-11-14T22:13:28.000Z" or span["from_s"] != VISITS[0].start
    known = service.figure("vstream_find_blocks_total", judgement="known")
    again = service.post("/v1/moments", OWL)
    assert again["data"] == whole["data"]
    assert service.figure("vstream_find_blocks_total", judgement="made") >= whole["judged"]
    assert service.figure("vstream_find_blocks_total", judgement="known") == known + again["known"]
    assert service.figure("vstream_find_spans_total") >= 2 * len(VISITS)
    assert service.figure("vstream_find_seconds_count") >= 2
    assert (again["judged"], again["coverage"]) == (0, whole["coverage"])


def test_a_stretch_by_the_clock_and_bounds_of_the_effort_count(service):
    span = {"from": "2023-11-14T22:13:40Z", "to": "2023-11-14T22:14:10Z"}
    [found] = service.post("/v1/moments", {**OWL, **span})["data"]
    assert (found["from_s"], found["to_s"]) == (VISITS[1].start, VISITS[1].stop)
    other = {**OWL, "statement": "a cup is there now", "judgements": 3}
    told = service.post("/v1/moments", other)
    assert told["judged"] == 3
    assert any(part["kind"] == "open" for part in told["coverage"]["door"])


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"stream_ids": ["gate"]}, 404),
        ({"statement": " "}, 400),
        ({"effort": "all"}, 422),
        ({"from": "sometime"}, 400),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_what_is_wrong_is_said_before_anything_is_streamed(service, wrong, status, is_streamed):
    asked = {**OWL, **wrong, "stream": is_streamed}
    assert service.http.post("/v1/moments", json=asked).status_code == status


def test_who_goes_away_has_it_stopped(service):
    owner = service.service_of("door")
    loaded, answering = owner.loaded, owner.answering
    facts = loaded.streams.get("door").session.memory.facts
    service.ask("what do you see now?", "stream://door")  # looks whether its pictures are strange
    known = len(facts)
    asked = {**OWL, "statement": "a cup is in view", "stream": True}
    with loaded.model.turn:  # nothing is judged meanwhile
        with service.http.stream("POST", "/v1/moments", json=asked) as response:
            assert response.is_success
            assert answering.num == 1
        give_up_at = time.monotonic() + 30
        while answering.num:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
    service.ask("what do you see now?", "stream://door")  # comes after what had begun
    assert len(facts) == known


def test_who_listens_hears_how_far_it_has_come_also_while_nothing_is_judged(service):
    asked = {**OWL, "statement": "a cup is to be seen", "stream": True}
    with (
        service.service.loaded.model.turn,
        service.http.stream("POST", "/v1/moments", json=asked) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "event: progress"
        assert json.loads(next(lines)[6:]) == {"judged": 0, "known": 0}
