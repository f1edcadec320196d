"""The address of a moment's picture leads to that moment, at whatever time it was taken."""

import io

import pytest
from PIL import Image
from service import running_service
from synthetic_video import picture

APART_S = 1.2344
BLOCKS = 8


@pytest.fixture(scope="module")
def service():
    """A service with a stream whose moments end at no whole millisecond."""
    with running_service() as running:
        wanted = {"source": {"type": "push"}, "sampling": {"fps": 1, "dedup": 0}}
        texts = {"policy": "goldfish", "policy_set": {"clip_s": 2}}
        running.post("/v1/streams", {"id": "door", **wanted})
        running.post("/v1/streams", {"id": "told", **wanted, **texts})
        for number in range(BLOCKS):
            buffer = io.BytesIO()
            Image.fromarray(picture(number)).save(buffer, "JPEG")
            headers = {"X-Capture-Time": str(1.7e9 + APART_S * number)}
            for stream in ("door", "told"):
                pushed = running.http.post(
                    f"/v1/streams/{stream}/frames", content=buffer.getvalue(), headers=headers
                )
                assert pushed.json()["accepted"]
                running.await_stream(stream, lambda told: told["memory"]["blocks"] > number)  # noqa: B023
        yield running


def _shown_s(service, url):
    return float(service.http.get(url).headers["x-stream-time"])


def test_of_a_citation(service):
    message = service.ask("what is there?", "stream://door")["choices"][0]["message"]
    cited = message["annotations"]
    assert len(cited) == BLOCKS
    for one in cited:
        assert _shown_s(service, one["frame_url"]) == pytest.approx(one["end_s"], abs=1e-3)


def test_of_a_moment_that_was_searched(service):
    found = service.post("/v1/search", {"query": "a red car", "stream_ids": ["door"]})["data"]
    assert found
    for one in found:
        assert _shown_s(service, one["frame_url"]) == pytest.approx(one["to_s"], abs=1e-3)


def test_of_a_clip_that_was_found_by_its_text(service):
    def found():
        wanted = {"query": "a red car", "stream_ids": ["told"]}
        return [one for one in service.post("/v1/search", wanted)["data"] if one["text"]]

    service.await_stream("told", lambda told: len(found()) == 4)
    for one in found():
        assert (one["from_s"] % 2, one["to_s"]) == (0, one["from_s"] + 2)
        assert one["from_s"] <= _shown_s(service, one["frame_url"]) <= one["to_s"]
    service.http.delete("/v1/streams/told/memory", params={"from_s": 0, "to_s": 1})
    assert sorted(one["from_s"] for one in found()) == [2, 4, 6]
