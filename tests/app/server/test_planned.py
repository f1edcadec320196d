"""Questions about time over HTTP: answered from spans, with the plan, unless that is not wanted."""

import json
from contextlib import ExitStack

import pytest
from owl_stream import VISITS, push_owl
from service import running_service

COUNT = "how many times was the owl there?"
BEGAN = 1_700_000_000.0


@pytest.fixture(scope="module")
def service():
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("VSTREAM_ENGINE__PLAN_MILLISECONDS", "60000")  # whatever else runs here
        running = stack.enter_context(running_service())
        push_owl(running, BEGAN)
        yield running


def test_the_answer_is_written_from_spans_and_says_which(service):
    answer = service.ask(COUNT, "stream://door")
    [choice], [told] = answer["choices"], answer["vstream"]
    assert choice["message"]["content"].startswith("2 times, at ")
    assert choice["finish_reason"] == "stop"
    assert told["plan"]["kind"] == "count"
    [found] = told["plan"]["found"]
    spans = [(span["from_s"], span["to_s"]) for span in found["spans"]]
    assert spans == [(visit.start, visit.stop) for visit in VISITS]
    cited = choice["message"]["annotations"]
    assert {one["end_s"] for one in cited} == {span["at_s"] for span in found["spans"]}
    for one in cited:
        assert service.http.get(one["frame_url"]).content.startswith(b"\xff\xd8")
    again = service.post("/v1/responses", {"input": COUNT})
    assert again["vstream"][0]["plan"]["found"][0]["spans"] == found["spans"]


def test_it_can_be_left_to_the_model(service):
    answer = service.ask(COUNT, "stream://door", plan=False)
    assert answer["vstream"][0]["plan"] is None
    assert service.ask("what do you see?", "stream://door")["vstream"][0]["plan"] is None


def test_it_is_streamed_like_any_answer(service):
    whole = service.ask(COUNT, "stream://door")["choices"][0]["message"]["content"]
    asked = {"messages": [{"role": "user", "content": COUNT}], "stream": True}
    with service.http.stream("POST", "/v1/chat/completions", json=asked) as response:
        data = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    chunks = [json.loads(one) for one in data]
    pieces = [one["choices"][0]["delta"].get("content") or "" for one in chunks]
    assert "".join(pieces) == whole
    assert chunks[-1]["vstream"][0]["plan"]["kind"] == "count"
