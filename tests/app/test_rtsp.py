"""`vstream ingest --config`: cameras that go on into a store, while others are asked about them."""

import re

import httpx
import pytest
from command_line import vstream
from processes import Process, until
from redis_servers import redis_binary
from rtsp_camera import RtspCamera, free_port
from service import running_service
from synthetic_video import write_video

from vstream import load_video_llm

PASSWORD = "hunter2"
CONFIG = """
source: {retry_min_s: 0.2, retry_max_s: 0.5}
streams:
  - id: door
    source: {url: "CAMERA"}
    sampling: {dedup: 0}
    context: Front door.
  - id: yard
    source: {url: "DEAD"}
"""


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    folder = tmp_path_factory.mktemp("camera")
    with RtspCamera(write_video(folder / "loop.mp4", num_frames=100, fps=20)) as running:
        yield running


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/store"
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    return request.getfixturevalue("redis_server").url


def test_cameras_are_watched_into_a_store_and_asked_about_elsewhere(camera, store, tmp_path):
    config = tmp_path / "streams.yaml"
    secret = "rtsp://bob:${DOOR_PASSWORD}@"
    text = CONFIG.replace("CAMERA", camera.url.replace("rtsp://", secret))
    config.write_text(text.replace("DEAD", f"{secret}127.0.0.1:{free_port()}/yard"))
    daemon = Process(
        *("ingest", "--config", config, "--store", store, "--threads", 1, "--metrics-port", 0),
        DOOR_PASSWORD=PASSWORD,
    )
    metrics_url = daemon.found(r"metrics at (\S+)")
    daemon.await_line("ingesting 2 streams into")
    until(lambda: "door running\n" in daemon.out)
    until(lambda: "yard reconnecting STREAM_CONNECTION_FAILED\n" in daemon.out)

    def metrics():
        return httpx.get(metrics_url).text

    until(lambda: float(re.search(r'memory_blocks{stream_id="door"} (\S+)', metrics())[1]) >= 3)
    assert 'vstream_stream_up{stream_id="door"} 1.0' in metrics()
    assert 'vstream_stream_up{stream_id="yard"} 0.0' in metrics()

    run = vstream("ask", "door", "what do you see?", "--store", store, "--json")
    assert run.code == 0, run.err
    assert run.document["evidence"]
    with running_service(model=load_video_llm(None), store=store) as service:
        assert "door" in service.get("/v1/streams")["stored"]
        told = service.ask("what do you see?", "stream://door")["choices"][0]["message"]
        assert {cited["stream_id"] for cited in told["annotations"]} == {"door"}

    assert daemon.is_running
    everything = [*daemon.out, *daemon.err, metrics()]
    assert daemon.terminate() == 0
    everything += [*daemon.out, *daemon.err, run.out, run.err]
    assert PASSWORD not in "".join(everything)
    assert "Traceback" not in "".join(everything)
    run = vstream("ask", "door", "what do you see?", "--store", store)  # it is let go of
    assert run.code == 0, run.err


CAMERA = "streams: [{id: door, source: {url: 'rtsp://bob:hunter2@127.0.0.1/x'}}]"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (CAMERA.replace("hunter2", "${NO_SUCH_VARIABLE}"), "set NO_SUCH_VARIABLE"),
        (CAMERA.replace("}}]", "}, sampling: {fpz: 1}}]"), "streams.0.sampling.fpz"),
        (CAMERA.replace("id: door, ", ""), "streams.0.id"),
        (CAMERA.replace("id: door, ", "id: door, timezone: Nowhere, "), "unknown time zone"),
        (CAMERA.replace("rtsp:", "gopher:"), "gopher"),
        (CAMERA.replace("}}]", "}}, {id: door, source: {type: push}}]"), "id used twice: door"),
        (CAMERA + "\nstraems: []", "straems"),
        (CAMERA[:-1] + ": [", "not valid YAML: line 1, column"),
        ("- door", "expected settings by name"),
        ("", "no cameras"),
        (CAMERA, "ends with this process"),
        (None, "cannot be read"),
    ],
)
def test_a_bad_configuration_is_one_line_that_names_what_is_wrong(tmp_path, config, told):
    path = tmp_path / "streams.yaml"
    if config is not None:
        path.write_text(config)
    store = "memory://" if config == CAMERA else f"file://{tmp_path}/store"
    run = vstream("ingest", "--config", path, "--store", store)
    assert run.code == 1
    assert told in run.err
    assert len(run.err.strip().splitlines()) == 1, run.err
    assert "hunter2" not in run.err


def test_the_old_name_leads_there_and_says_so(tmp_path):
    run = vstream("rtsp", "--store", f"file://{tmp_path}/store")
    assert run.code == 1
    said, error = run.err.strip().splitlines()
    assert "vstream ingest --config" in said
    assert "no cameras" in error


def test_a_source_or_the_cameras_of_a_file(tmp_path):
    path = tmp_path / "streams.yaml"
    path.write_text(CAMERA)
    run = vstream("ingest", "clip.mp4", "--config", path, "--store", f"file://{tmp_path}/store")
    assert run.code == 1
    assert "not both" in run.err
