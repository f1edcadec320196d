"""The demo plays its script without a terminal and calls right right and wrong wrong."""

import json
import os
import pty
import re
import signal
import socket
from contextlib import suppress

import httpx
import pytest
from command_line import vstream
from warm_start import WarmProcess

from app.sample import SAMPLE_SCRIPT, SAMPLE_VIDEO
from eval.stream_world import write_script
from vstream import Question, load_config, load_video_llm, open_session
from vstream.ingest import IngestWorker


@pytest.fixture(scope="module")
def run():
    """As without a terminal: it plays the sample and ends."""
    played = vstream("demo")
    assert played.code == 0, played.err
    return played


def test_the_demo_plays_its_script_and_ends(run):
    script = json.loads(SAMPLE_SCRIPT.read_text())["questions"]
    for entry in script:
        assert entry["question"] in run.err
    verdicts = run.err.count("right: the stream shows") + run.err.count("wrong: the stream shows")
    assert verdicts == len(script)
    answers = run.out.strip().splitlines()
    assert len(answers) == len(script)


def test_the_embedded_model_is_right_about_most_of_the_sample(run):
    right = run.err.count("right: the stream shows")
    assert right >= 4 * run.err.count("wrong: the stream shows")


def test_the_best_evidence_shows_the_thing_asked_about():
    script = json.loads(SAMPLE_SCRIPT.read_text())
    seed = int(script["command"].split("--seed ")[1].split()[0])
    moments = write_script(seed, script["length_s"]).moments
    model = load_video_llm(None)
    shown = asked = 0
    with open_session(load_config(), model, "sample") as session:
        IngestWorker(session, str(SAMPLE_VIDEO), load_config().source).run()
        for entry in script["questions"]:
            seen = [entry["names"]] if entry["evidence_s"] and entry["names"] else []
            for names in seen:
                stream = session.ask(Question(entry["question"], float(entry["asked_s"])))
                best = moments[int(stream.evidence[0].start_s)]
                shown += any(best.find(name) for name in names)
                asked += 1
                assert stream.evidence[0].thumbnail.startswith(b"\xff\xd8")
    assert asked >= 6
    assert shown >= asked - 1


def test_with_a_terminal_and_no_browser_the_page_is_served_where_there_is_room():
    unset = ("CI", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    ours, theirs = pty.openpty()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ours: a demo just ended
        with suppress(OSError):  # somebody else is there
            taken.bind(("127.0.0.1", 8900))
            taken.listen()
        err, its_err = os.pipe()
        command = ["-c", "from app.cli import main; main()", "demo", "--threads", "1"]
        demo = WarmProcess("page", command, environment, [theirs, theirs, its_err])
        os.close(its_err)
        try:
            told = ""
            said = open(err)  # noqa: SIM115
            while "no browser here" not in told:
                line = said.readline()
                assert line, told
                told += line
            url = re.search(r"open (http://127.0.0.1:\d+)/ui", told)[1]
            assert not url.endswith(":8900")
            assert httpx.get(f"{url}/ui/config", timeout=60).json()["title"] == "vstream"
            demo.send_signal(signal.SIGINT)
            assert demo.wait(30) == 0
        finally:
            demo.kill()
            demo.wait()
            said.close()
            os.close(ours)
            os.close(theirs)
