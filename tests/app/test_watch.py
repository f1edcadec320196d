"""`vstream watch` and `ask` on a live camera that dies and comes back."""

import re
import threading
import time

import pytest
from command_line import vstream
from rtsp_camera import RtspCamera, ScriptedRtspServer
from synthetic_video import write_video

from vstream import IngestWorker, load_config, load_video_llm, open_session


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "camera.mp4", num_frames=150, fps=15)


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_live_camera_is_asked_while_it_plays(video):
    with RtspCamera(video) as camera:
        run = vstream(
            "ask", camera.url, "what do you see now?", "--watch", "2", "--fps", "4", "--json"
        )
    assert run.code == 0, run.err
    assert run.document["evidence"]
    assert run.document["frames"]["encoded"] >= 4


def test_a_camera_that_dies_comes_back_with_the_memory_intact(video, model):
    config = load_config(
        source={"sample_fps": 1.0, "retry_min_s": 0.2, "read_timeout_s": 2.0, "dedup_threshold": 0}
    )
    with RtspCamera(video) as camera, open_session(config, model, "camera") as session:
        worker = IngestWorker(session, camera.url, config.source, keep_trying=True)
        worker.start()
        wait_for(lambda: session.memory.num_blocks >= 3)
        during = session.ask("what do you see now?").answer
        assert during.evidence
        camera.kill()
        held = session.memory.num_blocks
        wait_for(lambda: worker.status.counts.reconnects >= 1 or worker.status.state != "running")
        dead = session.ask("what do you see now?").answer
        assert dead.newest_frame_s >= during.newest_frame_s
        camera.start()
        wait_for(lambda: session.memory.num_blocks >= held + 3)
        times = [session.memory.info(i).end_s for i in range(session.memory.num_blocks)]
        assert times == sorted(times)
        after = session.ask("what do you see now?").answer
        assert after.newest_frame_s > dead.newest_frame_s
        assert {e.block_id for e in during.evidence} <= {e.block_id for e in after.evidence}
        worker.stop()
        worker.join()
    assert "ingest" not in {thread.name for thread in threading.enumerate()}


def test_watch_answers_each_line_it_is_given(video):
    run = vstream("watch", video, "--fast", stdin="what do you see now?\n\nwhat is it?\n")
    assert run.code == 0, run.err
    assert len(run.out.strip().splitlines()) == 2, "two answers"
    assert run.err.count("first token") == 2
    assert re.search(r"(running|ended), newest frame", run.err), "the state, for the empty line"


@pytest.mark.parametrize(
    ("behaviour", "advice"),
    [("wrong_password", "password"), ("not_found", "no such stream"), ("silent", "nothing came")],
)
def test_a_camera_that_refuses_is_reported_without_its_password(behaviour, advice):
    with ScriptedRtspServer(behaviour) as server:
        url = f"rtsp://user:s3cret@127.0.0.1:{server.port}/door"
        run = vstream("ask", url, "who is there?", "--connect-timeout", "2")
    assert run.code == 1
    assert advice in " ".join(run.err.split())
    assert f"127.0.0.1:{server.port}/door" in run.err
    assert "s3cret" not in run.err + run.out
    assert "Traceback" not in run.err


def test_watching_a_camera_that_never_answers_ends_with_stdin(monkeypatch):
    monkeypatch.setenv("VSTREAM_SOURCE__CONNECT_TIMEOUT_S", "1")
    run = vstream("watch", "rtsp://127.0.0.1:9/x", stdin="anyone there?\n")
    assert run.code == 0
    assert "no frame has been seen" in run.err
