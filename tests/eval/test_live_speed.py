"""`python -m eval speed load` and `pipeline`: the commands run whole, on small things."""

import json

import av
import pytest
from load import FPS, write_camera_video
from rtsp_camera import RtspCamera
from typer.testing import CliRunner

from eval.commands import cli


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A minute of a made-up stream, at FPS."""
    path = tmp_path_factory.mktemp("video") / "minute.mp4"
    write_camera_video(path, 11, (255, 0, 0), seconds=60)
    return path


def _run(*arguments, **env):
    words = ["speed", *map(str, arguments), "--json"]
    done = CliRunner().invoke(cli, words, env={"VSTREAM_THREADS": "1", **env})
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.strip().splitlines()[-1])


def _pipeline(*arguments, **env):
    found = _run("pipeline", *arguments, **env)
    return found["pipeline"][0], found["stages of an encoded frame"][0]


def _decoded(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_ingest_and_answers_are_measured_beside_each_other(monkeypatch):
    monkeypatch.setattr("eval.speed.subject._POOL", 8)
    numbers = ("--askers", "0", "--askers", "2", "--streams", "0", "--streams", "2")
    found = _run("load", "--frames", "40", "--seconds", "1", *numbers)
    alone, beside = found["one stream as fast as it can"]
    assert (alone["askers"], beside["askers"]) == (0, 2)
    assert alone["answer_tokens_per_s"] == 0 < beside["answer_tokens_per_s"]
    assert alone["frames_per_s"] > 0 < beside["frames_per_s"]
    for told, streams in zip(found["one asker beside streams"], (0, 2), strict=True):
        assert told["streams"] == streams
        assert told["questions"] > 0
        assert 0 < told["first_token_p50_ms"] <= told["first_token_p95_ms"]
        assert 0 < told["frames_share"] <= 1
        assert 0 < told["device_share"] <= 1


def test_a_file_goes_through_the_whole_pipeline_as_fast_as_it_can(video):
    found, stages = _pipeline(video, VSTREAM_SOURCE__SAMPLE_FPS=str(FPS))
    assert found["encoded_frames_per_s"] > 0
    assert found["lost_frames"] == 0
    assert {"source_ms", "turn_ms", "vision_ms", "prefill_ms", "store_ms"} <= set(stages)
    beside = ("thumbnail_ms", "encode_ms", "store_ms")
    in_line_ms = sum(ms for name, ms in stages.items() if name not in beside)
    assert in_line_ms == pytest.approx(1000 / found["encoded_frames_per_s"], rel=0.05)
    assert found["limit"] in {"device", max(stages, key=stages.get).removesuffix("_ms")}
    assert found["decoded_frames_per_s"] * found["measured_s"] <= 1.0001 * _decoded(video)


def test_cameras_come_at_their_own_pace(video):
    with RtspCamera(video) as camera:
        found, stages = _pipeline(camera.url, camera.url, "--seconds", "4")
    assert (
        0 < found["decoded_frames_per_s"] < 1.3 * 2 * FPS
    )  # both together, no faster than they are taken
    assert 0 < found["encoded_frames_per_s"] < 1.5 * 2  # of which the model samples one a second
    assert found["limit"] == "camera" or found["lost_frames"]
    assert stages["source_ms"] > 0  # it waits for them


def test_what_is_no_video_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["speed", "pipeline", "none.mp4"])
    assert done.exit_code == 2
    assert "none.mp4" in done.output
