"""A memory policy is chosen by name wherever a stream is asked."""

import numpy as np
import pytest
from command_line import vstream
from service import embedded, running_service
from synthetic_video import write_video

from encoders import Frame
from memory.policies.default import Default, DefaultSettings
from vstream import VStreamConfig, open_session
from vstream.policy import shape_of


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", num_frames=400, fps=10)


URL = {"type": "video_url", "video_url": {"url": "stream://door"}}


def test_a_service_keeps_a_stream_under_one_and_a_question_may_name_another(video):
    wanted = {"recent_frames": 4, "retrieve_blocks": 6}
    spec = {
        "id": "door",
        "source": {"url": str(video), "speed": "max"},
        "policy": "uniform",
        "policy_set": wanted,
    }
    with running_service(allow_files=[video.parent]) as service:
        assert service.post("/v1/streams", spec)["policy"] == "uniform"
        service.post("/v1/streams", {**spec, "id": "gate", "policy": None})
        for stream in ("door", "gate"):
            service.await_state(stream, "ended")
        kept = service.ask("what do you see now?", "stream://door")
        assert seen(kept) == {3, 9, 15, 21, 27, 33, 36, 37, 38, 39}, "spread evenly, and the newest"
        refused = service.http.post(
            "/v1/chat/completions",
            json={
                "messages": [{"role": "user", "content": [URL, {"type": "text", "text": "?"}]}],
                "policy": "window",
            },
        )
        assert refused.status_code == 400
        plain, named = (
            service.ask("what do you see now?", "stream://gate", **wish)
            for wish in ({}, {"policy": "uniform"})
        )
        assert seen(named) != seen(plain)


def test_a_stream_says_no_to_a_policy_that_is_none_or_that_cannot_be_so(video):
    spec = {"id": "door", "source": {"url": str(video), "speed": "max"}}
    with running_service(allow_files=[video.parent]) as service:
        for wrong in ({"policy": "no_such"}, {"policy_set": {"retrieve_blocks": -1}}):
            answer = service.http.post("/v1/streams", json={**spec, **wrong})
            assert answer.status_code == 422, answer.text
            assert "known: " in answer.text or "retrieve_blocks" in answer.text


def test_a_class_of_one_s_own_answers_in_python():
    class Newest(Default):
        name = "newest"

        def retrieve_blocks(self):
            return 0

    model = embedded()
    policy = Newest(shape_of(model, 8), DefaultSettings(recent_frames=2))
    with open_session(VStreamConfig(), model, "own", policy) as session:
        session.push([_grey(second) for second in range(6)])
        stream = session.ask("what do you see now?")
        assert len(stream.answer.evidence) == 2
        assert not any(stream.retrieved)


def _grey(second):
    return Frame(np.full((64, 64, 3), 20 * second, np.uint8), float(second), 0.0)


def test_a_stored_stream_is_asked_under_the_policy_that_wrote_it(video, tmp_path):
    store = ("--store", f"file://{tmp_path}")
    run = vstream("ingest", video, "--id", "door", *store, "--policy", "window")
    assert run.code == 0, run.err
    asked = vstream("ask", "door", "what do you see now?", "--json", *store)
    assert asked.code == 0, asked.err
    other = vstream("ask", "door", "what do you see now?", *store, "--policy", "default")
    assert other.code != 0
    assert "window" in other.err
    again = vstream("ingest", video, "--id", "door", *store, "--policy", "streaming_llm")
    assert again.code != 0
    assert "written under policy window, not streaming_llm" in again.err


def seen(chat):
    """Where the moments begin that an answer cites, in seconds of the stream."""
    return {one["start_s"] for one in chat["choices"][0]["message"]["annotations"]}
