"""An answer has a field more: it is in whatever is told of an answer, and of an alert that fired.

Run in a copy to which answer_field.patch was applied; see test_changes.py.
"""

import json

from command_line import vstream
from followed import Followed
from one_thing import thing_jpeg
from processes import until
from service import embedded, running_service
from synthetic_video import write_video

ASKED = {"model": "default", "input": "what do you see?", "max_output_tokens": 4}


def test_the_command_line_tells_it(tmp_path):
    video = write_video(tmp_path / "clip.mp4", num_frames=80, fps=10)
    document = vstream("ask", video, "what do you see now?", "--json").document
    assert document["remembered_s"] == 7.0


def test_the_service_tells_it():
    with running_service(model=embedded()) as service:
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        listener = Followed("GET", f"{service.url}/v1/events")
        spec = {"stream_ids": ["door"], "condition": "an owl", "threshold": 0, "confirmations": 1}
        service.post("/v1/alerts", spec)
        service.post("/v1/streams/door/frames", content=thing_jpeg("owl", 0))
        service.await_stream("door", lambda one: one["memory"]["blocks"] > 0)
        until(lambda: listener.events("alert.fired"))
        (chat,) = service.ask("what do you see?", "stream://door", max_tokens=4)["vstream"]
        there = vstream("ask", "door", "what?", "--service", service.url, "--json").document
        (response,) = service.post("/v1/responses", ASKED)["vstream"]
        until(lambda: len(listener.events("answer.done")) == 3)
        told = [*listener.events("alert.fired"), *listener.events("answer.done")]
        streamed = Followed("POST", f"{service.url}/v1/responses", json={**ASKED, "stream": True})
        until(lambda: streamed.has_ended)
        last = json.loads(streamed.data[-1])
        schema = service.get("/openapi.json")["components"]["schemas"]["StreamEvidence"]
    documents = [
        chat,
        response,
        there,
        *last["response"]["vstream"],
        *(one["data"] for one in told),
    ]
    assert [one["remembered_s"] for one in documents] == [0.0] * 8, json.dumps(documents)
    assert "remembered_s" in schema["properties"]
