"""How long each stage of a frame and of a question takes is told by the metrics."""

import time

from one_thing import thing_jpeg
from service import embedded, running_service


def test_stages_are_measured_where_they_pass():
    with running_service(model=embedded()) as service:
        spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
        service.post("/v1/streams", {"id": "door", **spec})
        for number in range(3):
            headers = {"X-Capture-Time": str(time.time() - 60 + number)}
            jpeg = thing_jpeg("owl")
            service.http.post("/v1/streams/door/frames", content=jpeg, headers=headers)
            service.await_stream("door", lambda told: told["memory"]["blocks"] > number)  # noqa: B023
        service.ask("what is there?", "stream://door")
        counts = {
            ("vstream_encode_seconds", None): 3,
            ("vstream_retrieve_seconds", None): 1,
            ("vstream_request_queue_time_seconds", "ask"): 1,
            ("vstream_request_queue_time_seconds", "ingest"): 3,
        }
        for (name, kind), count in counts.items():
            labels = {} if kind is None else {"kind": kind}
            assert service.figure(f"{name}_count", **labels) == count, (name, kind)
        whole_s = service.figure("vstream_time_to_first_token_seconds_sum")
        retrieve_s = service.figure("vstream_retrieve_seconds_sum")
        queue_s = service.figure("vstream_request_queue_time_seconds_sum", kind="ask")
        assert 0 < retrieve_s + queue_s < whole_s
        assert service.figure("vstream_encode_seconds_sum") > 0
