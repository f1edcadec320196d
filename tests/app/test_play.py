"""`vstream alert` and `ask` on a live camera that dies and comes back."""

import json
import re
import threading
import time

import pytest
from command_line import vstream
from owl_stream import LENGTH_S, VISITS, write_owl_video
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
            "ask", camera.url, "what do you see now?", "--wait", "2", "--fps", "4", "--json"
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
        of_others = set(threading.enumerate())
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
    assert "ingest" not in {one.name for one in set(threading.enumerate()) - of_others}


def test_each_line_is_answered_while_a_source_plays(video):
    run = vstream("ask", video, "--fast", stdin="what do you see now?\n\nwhat is it?\n")
    assert run.code == 0, run.err
    assert len(run.out.strip().splitlines()) == 2, "two answers"
    assert run.err.count("first token") == 2
    assert re.search(r"(running|ended), newest frame", run.err), "the state, for the empty line"


def test_an_alert_is_told_and_by_the_old_name_questions_are_answered_too(tmp_path, monkeypatch):
    monkeypatch.setenv("VSTREAM_SOURCE__DEDUP_THRESHOLD", "0")
    owl, dog = "tell me when an owl appears.", "tell me when a dog appears."
    video = write_owl_video(tmp_path / "owl.mp4")
    rule = ("--rule", "k_of_n")
    run = vstream("alert", video, owl, dog, "--fast", *rule)
    assert run.code == 0, run.err
    lines = [re.split(r"  +", line) for line in run.out.strip().splitlines()]
    told = [line for line in lines if len(line) == 3]
    times = [f"0:{visit.start + 1:02d}" for visit in VISITS]  # the second judgement confirms it
    assert [(time_, text) for time_, text, _ in told] == [(time_, owl) for time_ in times]
    assert all(re.fullmatch(r"\([01]\.\d\d\)", probability) for *_, probability in told)
    said = [line for line in lines if len(line) == 2]
    assert [time_ for time_, _ in said] == times
    assert all(re.fullmatch('".*owl.*"', sentence) for _, sentence in said)
    as_json = vstream("alert", video, owl, "--fast", *rule, "--json", stdin="what is it?")
    both = vstream("watch", video, "--fast", "--tell", owl, *rule, "--json", stdin="what is it?")
    assert "is now `vstream alert SOURCE CONDITION`" in both.err
    alerts = list(map(json.loads, as_json.out.strip().splitlines()))
    assert [(one["condition"], one["at_s"]) for one in alerts] == [
        (owl, visit.start + 1) for visit in VISITS
    ]
    assert [f'"{one["sentence"]}"' for one in alerts] == [sentence for _, sentence in said]
    documents = list(map(json.loads, both.out.strip().splitlines()))
    assert sum("answer" in one for one in documents) == 1
    assert [one["watch"] for one in documents if "watch" in one] == [owl] * len(VISITS)


def test_an_empty_condition_is_refused_before_the_model_is_loaded(video):
    run = vstream("alert", video, " ")
    assert run.code == 1
    assert "empty condition" in run.err


def test_every_sampled_frame_is_looked_at_in_order_also_those_that_are_alike(tmp_path, model):
    config, video = load_config(), write_owl_video(tmp_path / "owl.mp4")
    looked = []
    with open_session(config, model, "still") as session:
        worker = IngestWorker(
            session, str(video), config.source, on_frame=lambda frame: looked.append(frame.stream_s)
        )
        worker.run()
        assert worker.progress.frames_duplicate > LENGTH_S / 2
    assert looked == [float(second) for second in range(LENGTH_S)]


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


def test_asking_a_camera_that_never_answers_ends_with_stdin(monkeypatch):
    monkeypatch.setenv("VSTREAM_SOURCE__CONNECT_TIMEOUT_S", "1")
    run = vstream("ask", "rtsp://127.0.0.1:9/x", stdin="anyone there?\n")
    assert run.code == 0
    assert "no frame has been seen" in run.err
