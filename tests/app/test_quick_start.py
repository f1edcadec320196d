"""docs/quick_start.md, read as a newcomer does: each of its commands is run as it stands there, but
for the address of the camera, the port and the folder.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from one_thing import write_thing_video
from processes import Process, until
from rtsp_camera import RtspCamera

PAGE = (Path(__file__).parents[2] / "docs" / "quick_start.md").read_text()
TO_AN_ALERT, TO_KEEP_IT = (
    [line.removeprefix("$ ") for line in block.splitlines()]
    for block in re.findall(r"```console\n(.*?)\n```", PAGE, re.DOTALL)
)
CAMERA = "rtsp://127.0.0.1:8554/live"


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    with RtspCamera(write_thing_video(tmp_path_factory.mktemp("owl") / "owl.mp4", "owl")) as camera:
        yield camera


def _words(line, begins, url):
    words = shlex.split(line.replace(CAMERA, url), comments=True)
    assert words[0] == begins
    return words[1:]


def test_the_third_command_tells_of_an_alert(camera):
    installs, enters, alerts = TO_AN_ALERT
    assert installs.split()[:2] == ["make", "demo"]
    assert enters == "source .venv/bin/activate"
    told = Process(*_words(alerts, "vstream", camera.url))
    until(lambda: told.out or not told.is_running, 180)
    told.kill()
    assert told.out, "".join(told.err)
    assert "tell me when an owl is there" in told.out[0]


def test_a_service_that_is_set_up_by_it_sends_the_firing(camera, tmp_path):
    serves, creates, sets, listens = TO_KEEP_IT
    command, port = serves.removesuffix(" &"), re.compile(r"localhost:8900")
    store = f"file://{tmp_path}"
    words = [store if "file:" in one else one for one in _words(command, "vstream", camera.url)]
    service = Process(*words, VSTREAM_SERVICE__PORT="0")
    try:
        where = f"127.0.0.1:{service.found(r'listening on http://127.0.0.1:([0-9]+)')}"
        service.await_line("ready")
        for line in (creates, sets):
            asked = _words(port.sub(where, line), "curl", camera.url)
            done = subprocess.run(["curl", "-sS", "--fail-with-body", *asked], capture_output=True)
            assert done.returncode == 0, done.stdout
        asked = _words(port.sub(where, listens), "curl", camera.url)
        with subprocess.Popen(
            ["curl", "-sS", "--max-time", "60", *asked], stdout=subprocess.PIPE, text=True
        ) as listening:
            events = (line[6:] for line in listening.stdout if line.startswith("data: "))
            fired = next(json.loads(one) for one in events if '"alert.fired"' in one)
            listening.terminate()
        assert fired["stream_id"] == "door"
    finally:
        service.terminate()
