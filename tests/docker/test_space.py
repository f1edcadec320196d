"""The Space's app.py serves the page of the demo to everyone, and asks for no key."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from processes import until
from rtsp_camera import free_port

SPACE = Path(__file__).parents[2] / "docker" / "space"
INNER = {"id": "inner", "source": {"url": "rtsp://127.0.0.1/1"}}


def test_its_page_shows_the_sample_to_whoever_comes():
    port = free_port()
    space = subprocess.Popen(
        [sys.executable, "app.py"], cwd=SPACE, env={**os.environ, "PORT": str(port)}
    )
    visitor = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Host": "me.example"})

    def shown():
        assert space.poll() is None
        try:
            streams = visitor.get("/v1/streams", timeout=60).json().get("data", [])
        except httpx.TransportError:
            return False
        return [one["id"] for one in streams if one["memory"]["blocks"]] == ["sample"]

    try:
        with visitor:
            until(shown)
            assert visitor.get("/ui/config", timeout=60).json()["title"] == "vstream"
            refused = visitor.post("/v1/streams", json=INNER)
            assert refused.json()["error"]["code"] == "SOURCE_FORBIDDEN"
        space.send_signal(signal.SIGTERM)
        assert space.wait(60) == 0
    finally:
        space.kill()
        space.wait()


def test_its_readme_begins_with_what_a_space_is_configured_by():
    _, head, _ = (SPACE / "README.md").read_text("utf-8").split("---\n", 2)
    named = dict(line.split(": ", 1) for line in head.splitlines())
    assert (named["sdk"], named["app_file"]) == ("gradio", "app.py")
