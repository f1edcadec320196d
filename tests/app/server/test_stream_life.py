"""Streams are made, paused, changed, deleted and left behind; a service that starts again knows."""

import io
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image
from redis_servers import RedisServer, redis_binary, valkey_binary
from service import endless, running_service
from structlog.testing import capture_logs
from synthetic_video import picture, write_video

from memory.tiers.redis.redis_keys import RedisKeys
from vstream import load_video_llm
from vstream.service.stream_spec import StreamSpec

MASK = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]  # the left half


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


@pytest.fixture(scope="module")
def service(model):
    with running_service(model=model, max_streams=4) as running:
        yield running


@pytest.fixture
def stream(service):
    """A stream that clients push to, with some frames."""
    create(service, "door")
    push(service, "door", 3)
    yield "/v1/streams/door"
    service.http.delete("/v1/streams/door?purge=true")


def create(service, stream_id, **more):
    spec = {"id": stream_id, "source": {"type": "push"}, "sampling": {"fps": 10, "dedup": 0}}
    return service.post("/v1/streams", {**spec, **more})


def jpeg(number):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG")
    return buffer.getvalue()


def push(service, stream_id, count):
    """So many frames, each of them encoded."""
    for number in range(count):
        before = service.get(f"/v1/streams/{stream_id}")["memory"]["blocks"]
        answer = pushed(service, stream_id, number)
        assert answer.json()["accepted"], answer.text
        service.await_stream(stream_id, lambda told: told["memory"]["blocks"] > before)  # noqa: B023
        time.sleep(0.11)  # a tick of ten frames a second


def pushed(service, stream_id, number=0):
    return service.http.post(f"/v1/streams/{stream_id}/frames", content=jpeg(number))


def code_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_a_paused_stream_takes_nothing_and_remembers_all(service, stream):
    assert service.post(f"{stream}/pause")["state"] == "paused"
    assert code_of(pushed(service, "door")) == (422, "STREAM_PAUSED")
    assert service.get(stream)["memory"]["blocks"] == 3
    assert service.ask("what is there?", "stream://door")["choices"][0]["message"]["annotations"]
    service.post(f"{stream}/resume")
    push(service, "door", 1)
    assert service.get(stream)["memory"]["blocks"] == 4
    assert service.get(stream)["state"] == "running"


def test_it_is_told_how_much_time_lies_in_each_tier(service, stream):
    memory = service.get(stream)["memory"]
    seconds = memory["seconds"]
    assert set(seconds) == set(memory["bytes"]) == {"host"}
    assert seconds["host"] == pytest.approx(memory["to_s"] - memory["from_s"], abs=1e-5)
    assert seconds["host"] >= 0.2
    figure = service.figure("vstream_memory_seconds", stream_id="door", tier="host")
    assert figure == seconds["host"]


def test_a_frame_like_the_last_one_is_forgotten_with_its_time(service):
    """It is in no block, and yet it is shown as the newest."""
    create(service, "still", sampling={"fps": 10, "dedup": 5})
    began = round(time.time()) - 60
    for second in (0, 30):
        headers = {"X-Capture-Time": str(began + second)}
        path = "/v1/streams/still/frames"
        told = service.post(path, content=jpeg(0), headers=headers)
        assert told["accepted"], told
        shown = began + second
        service.await_stream("still", lambda told: (told["last_frame_at"] or 0) >= shown)  # noqa: B023
    service.post("/v1/streams/still/pause")
    told = service.get("/v1/streams/still")
    assert (told["memory"]["blocks"], told["dropped"]["duplicate"]) == (1, 1)
    later = {"from": str(began + 10), "to": str(began + 50)}
    assert service.delete("/v1/streams/still/memory", params=later)["blocks"] == 0
    assert service.http.get("/v1/streams/still/frame.jpg").headers["x-stream-time"] == "0.000"
    earlier = {"from": str(began - 50), "to": str(began - 10)}
    assert service.delete("/v1/streams/still/memory", params=earlier)["blocks"] == 0
    everything = {"from": str(began - 50), "to": str(began + 50)}
    assert service.delete("/v1/streams/still/memory", params=everything)["blocks"] == 1
    assert service.http.get("/v1/streams/still/frame.jpg").status_code == 404
    service.delete("/v1/streams/still")


def test_a_stream_that_is_restarted_goes_on_at_once(service, stream):
    assert service.post(f"{stream}/restart")["restarts"] == 1
    push(service, "door", 1)
    told = service.get(stream)
    assert (told["memory"]["blocks"], told["restarts"], told["state"]) == (4, 1, "running")


def test_what_is_said_with_every_question_can_be_changed(service, stream):
    service.http.patch(stream, json={"context": "A door.", "timezone": "Asia/Tokyo"})
    told = service.get(stream)
    assert (told["context"], told["timezone"]) == ("A door.", "Asia/Tokyo")
    refused = service.http.patch(stream, json={"timezone": "Atlantis/Centre"})
    assert code_of(refused) == (422, "invalid_value")


def test_an_id_is_used_once_and_streams_are_so_many_at_most(service, stream):
    spec = {"id": "door", "source": {"type": "push"}}
    assert code_of(service.http.post("/v1/streams", json=spec)) == (409, "stream_exists")
    for number in range(3):
        create(service, f"more-{number}")
    answer = service.http.post("/v1/streams", json={**spec, "id": "surplus"})
    assert code_of(answer) == (429, "busy")
    assert answer.headers["retry-after"]
    for number in range(3):
        service.delete(f"/v1/streams/more-{number}")


def test_what_is_masked_is_black_wherever_it_can_be_seen(service):
    create(service, "masked", masks=[MASK])
    push(service, "masked", 1)
    at_s = service.get("/v1/streams/masked")["memory"]["to_s"]
    for query in ({}, {"t_s": at_s}):  # the newest frame, and the picture kept of a moment
        answer = service.http.get("/v1/streams/masked/frame.jpg", params=query)
        seen = np.asarray(Image.open(io.BytesIO(answer.content)))
        middle = seen.shape[1] // 2
        assert seen[:, : middle - 8].max() < 16  # JPEG
        assert seen[:, middle + 8 :].max() > 60
    service.delete("/v1/streams/masked")


def test_a_client_that_goes_away_has_nothing_decoded_for_it(service, stream):
    def is_idle():
        return service.figure("vstream_num_requests_running") == 0

    with service.http.stream(
        "POST", "/v1/chat/completions", json=endless("door", stream=True)
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert not is_idle()
    within(5, is_idle)

    impatient = service.http.build_request("POST", "/v1/chat/completions", json=endless("door"))
    impatient.extensions["timeout"] = {"connect": 5, "read": 1, "write": 5, "pool": 5}
    with pytest.raises(Exception, match="timed out"):
        service.http.send(impatient)
    within(5, is_idle)


def within(seconds, is_so):
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_a_stream_can_be_deleted_while_it_is_asked_and_looked_at(service):
    """Whoever looks meanwhile gets an answer or is told why not, never a 500."""
    statuses = set()
    ended = threading.Event()

    def look():
        while not ended.is_set():
            for path in ("/metrics", "/v1/streams", "/v1/streams/brief", "/ready"):
                statuses.add(service.http.get(path).status_code)
            asked = {"messages": [{"role": "user", "content": "what?"}], "max_tokens": 3}
            statuses.add(service.http.post("/v1/chat/completions", json=asked).status_code)

    looking = [threading.Thread(target=look) for _ in range(3)]
    for thread in looking:
        thread.start()
    for number in range(15):
        create(service, "brief")
        pushed(service, "brief", number)
        time.sleep(0.02 * (number % 3))
        service.delete("/v1/streams/brief", params={"purge": number % 2 == 0})
    ended.set()
    for thread in looking:
        thread.join()
    assert statuses <= {200, 400, 404, 503}, statuses


def test_streams_that_come_and_go_leave_nothing_behind(service):
    def run(count):
        for number in range(count):
            create(service, "brief")
            pushed(service, "brief", number)
            service.delete("/v1/streams/brief")

    process = psutil.Process()
    run(5)
    before = (threading.active_count(), process.num_fds())
    run(30)
    within(10, lambda: threading.active_count() <= before[0])
    within(10, lambda: process.num_fds() <= before[1])
    create(service, "brief")
    pushed(service, "brief", 0)
    name = "vstream_capture_to_memory_seconds_count"
    within(10, lambda: service.figure(name, stream_id="brief") == 1.0)
    service.delete("/v1/streams/brief")
    assert service.figure(name, stream_id="brief") is None


@contextmanager
def started(model, store, **more):
    with running_service(model=model, store=store, **more) as running:
        yield running


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}"
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    return request.getfixturevalue("redis_server").url


def test_a_service_that_starts_again_knows_what_it_was_told(model, store):
    about = {"context": "Front door.", "timezone": "Europe/Prague"}
    condition = {"condition": "tell me when there is a cat", "every_s": 60}
    with started(model, store) as service:
        for name in ("kept", "deleted", "purged", "paused"):
            create(service, name, masks=[MASK], **about)
            push(service, name, 2)
        alert = service.post("/v1/alerts", {"stream_ids": ["kept", "paused"], **condition})
        service.post("/v1/alerts", {"stream_ids": ["deleted"], **condition})
        service.http.patch("/v1/streams/kept", json={"context": "Back door."})
        service.delete("/v1/streams/deleted")
        service.delete("/v1/streams/purged", params={"purge": True})
        service.post("/v1/streams/paused/pause")
    with started(model, store) as service:
        listed = service.get("/v1/streams")
        assert [one["id"] for one in listed["data"]] == ["kept", "paused"]
        assert [one["state"] == "paused" for one in listed["data"]] == [False, True]
        service.post("/v1/streams/paused/resume")
        assert listed["stored"] == ["deleted"]  # what it has seen is still there to be asked about
        told = service.get("/v1/streams/kept")
        assert (told["context"], told["timezone"]) == ("Back door.", "Europe/Prague")
        assert told["memory"]["blocks"] == 2
        assert service.ask("what is there?", "stream://deleted")["choices"]
        assert service.http.get("/v1/streams/purged").status_code == 404
        assert [one["id"] for one in service.get("/v1/alerts")["data"]] == [alert["id"]]
        push(service, "kept", 1)
        seen = np.asarray(Image.open(io.BytesIO(newest(service, "kept"))))
        assert seen[:, : seen.shape[1] // 2 - 8].max() < 16  # it is still masked
        service.delete("/v1/streams/deleted", params={"purge": True})
        assert service.get("/v1/streams")["stored"] == []
        service.delete("/v1/alerts/" + alert["id"])
    with started(model, store) as service:
        assert service.get("/v1/alerts")["data"] == []


def newest(service, stream_id):
    return service.http.get(f"/v1/streams/{stream_id}/frame.jpg").content


def test_a_stream_that_another_model_made_is_asked_about_by_none_else(model, tmp_path):
    store = f"file://{tmp_path}"
    with running_service(model=model, store=store) as service:
        create(service, "door")
        push(service, "door", 1)
    with running_service(model=replace(model, fingerprint="another"), store=store) as service:
        told = service.get("/v1/streams")
        assert (told["data"], told["stored"]) == ([], ["door"])
        for path, document in (
            ("/v1/chat/completions", {"messages": endless("door")["messages"]}),
            ("/v1/streams", {"id": "door", "source": {"type": "push"}}),
        ):
            refused = service.http.post(path, json=document)
            assert refused.status_code == 409
            assert refused.json()["error"]["code"] == "stream_made_otherwise"
    with running_service(model=model, store=store) as service:
        assert service.get("/v1/streams/door")["memory"]["blocks"] == 1


def test_a_file_that_an_earlier_version_was_told_to_read_fast_is_read_fast(model, tmp_path):
    """Its note says so in that version's words."""
    store, video = f"file://{tmp_path}/store", write_video(tmp_path / "clip.mp4", num_frames=20)
    with started(model, store, allow_files=[tmp_path]) as service:
        service.post("/v1/streams", {"id": "clip", "source": {"url": str(video)}})
        keeper = service.service.loaded.streams.get("clip")
        spec = keeper.spec.model_dump(mode="json")
        earlier = {key: spec["source"][key] for key in ("type", "url", "transport")}
        keeper.remember(spec={**spec, "source": {**earlier, "real_time": False}})
    with started(model, store, allow_files=[tmp_path]) as service:
        told = service.await_state("clip", "ended", "running")["source"]
        assert (told["url"], told["speed"], told["loop"]) == (str(video), "max", False)


def test_a_file_in_a_loop_is_taken_for_a_camera(model, tmp_path):
    """It goes on after its end, and what it shows now is of now, however old the file is."""
    video = write_video(tmp_path / "clip.mp4", num_frames=20, fps=10)
    os.utime(video, (1e9, 1e9))
    with started(model, "memory://", allow_files=[tmp_path]) as service:
        source = {"url": str(video), "speed": 10, "loop": True}
        spec = {"id": "clip", "source": source, "sampling": {"fps": 1, "dedup": 0}}
        service.post("/v1/streams", spec)
        told = service.await_stream("clip", lambda told: told["memory"]["blocks"] >= 6)
        assert told["state"] == "running"
        assert told["memory"]["to_s"] >= 5
        assert time.time() - 5 < told["last_frame_at"] <= time.time()
        answer = service.ask("what was there in the last minute?", "stream://clip")
        assert answer["vstream"][0]["newest_frame_age_s"] < 5
        cited = answer["choices"][0]["message"]["annotations"]
        assert all(time.time() - 60 < one["captured_at"] <= time.time() for one in cited)


def test_of_configured_streams_the_configuration_alone_tells(model, tmp_path):
    """Neither their passwords nor they themselves lie in the store."""
    store = f"file://{tmp_path}"
    url = "rtsp://bob:hunter2@127.0.0.1:1/door"
    spec = StreamSpec.model_validate({"id": "door", "source": {"url": url}})
    with started(model, store, streams=[spec]) as service:
        service.http.patch("/v1/streams/door", json={"context": "A door."})
        assert service.get("/v1/streams/door")["context"] == "A door."
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"door" in b"".join(str(path).encode() for path in tmp_path.rglob("*"))
    assert b"hunter2" not in kept
    with started(model, store) as service:
        assert service.get("/v1/streams")["data"] == []


def test_streams_of_a_service_that_was_killed_are_not_left_to_its_lease(model, redis_server):
    with started(model, redis_server.url) as service:
        create(service, "door")
        push(service, "door", 1)
    with redis_server.client() as client:  # as one that was killed leaves it
        client.set(RedisKeys("door").lease, "1.dead elsewhere:1", px=1500)
    with started(model, redis_server.url) as service:
        assert service.get("/v1/streams/door")["memory"]["blocks"] == 1


def test_a_service_ends_although_its_store_is_away(model, tmp_path):
    """What waits is given some seconds, for all streams at once, and then told to be lost."""
    server = RedisServer(valkey_binary(), tmp_path)
    try:
        with capture_logs() as logged, started(model, server.url) as service:
            for number in range(3):
                create(service, f"door-{number}")
                push(service, f"door-{number}", 1)
            server.freeze()
            for number in range(3):
                within(10, lambda: service.http.get("/ready").status_code == 503)
                push(service, f"door-{number}", 1)
            began = time.monotonic()
        assert time.monotonic() - began < 25
    finally:
        server.thaw()
        server.stop()
    lost = {line["stream"] for line in logged if line["event"] == "not all was kept"}
    assert lost == {f"door-{number}" for number in range(3)}
