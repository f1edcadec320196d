"""The service as its users meet it first: started, given a video, asked, stopped."""

from pathlib import Path

import pytest
from service import running_service

SAMPLE = Path(__file__).parents[3] / "app" / "assets" / "sample_stream.mp4"


@pytest.fixture(scope="module")
def service():
    with running_service(allow_files=[SAMPLE.parent], allow_private=True) as running:
        running.post(
            "/v1/streams",
            {"id": "sample", "source": {"url": str(SAMPLE), "speed": "max"}},
        )
        running.await_state("sample", "ended", timeout_s=120)
        yield running


def test_an_answer_cites_the_moments_that_it_used(service):
    told = service.ask("what is there now?", "stream://sample")
    message = told["choices"][0]["message"]
    assert message["content"]
    assert {cited["stream_id"] for cited in message["annotations"]} == {"sample"}
    scores = [cited["score"] for cited in message["annotations"]]
    assert scores == sorted(scores, reverse=True)
    picture = service.http.get(message["annotations"][0]["frame_url"])
    assert picture.headers["content-type"] == "image/jpeg"
    assert float(picture.headers["x-stream-time"]) == message["annotations"][0]["end_s"]


def test_a_stretch_of_a_stream_is_asked_about_by_its_address(service):
    told = service.ask("what is there?", "stream://sample?from_s=20&to_s=40")
    ends = [cited["end_s"] for cited in told["choices"][0]["message"]["annotations"]]
    assert 20 <= min(ends) <= max(ends) <= 40
