"""Where the page's uploads lie: with their service they go, also with one that was killed."""

import json
import os
import socket
import tempfile
from pathlib import Path

import httpx
import pytest
from processes import Process

from app.uploads import uploads_folder

PREFIX = "vstream-uploads-"


@pytest.fixture
def temporary(tmp_path):
    """The folder for temporary files of the processes of one test."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def serve(temporary):
    """Begins a `vstream serve` process; none is left at the end of the test. One that is always
    `warm` has imported Gradio before it knows of the folder; that takes others seconds of a core.
    """
    begun = []

    def begin(*options, port=0, warm=True):
        options = ("--port", port, "--threads", "1", *options)
        begun.append(Process("serve", *options, warm=warm, TMPDIR=str(temporary)))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()


def url_of(process):
    """Where it listens, once it answers: from then on it ends well."""
    url = process.found(r"listening on (\S+)")
    assert httpx.get(f"{url}/health", timeout=30).status_code == 200
    return url


def folders(temporary):
    return {path.name for path in temporary.iterdir() if path.name.startswith(PREFIX)}


def test_uploads_go_with_their_service_or_with_the_next_after_one_that_was_killed(
    serve, temporary, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # to be as it was afterwards
    with uploads_folder() as of_another:
        killed = serve()
        url = url_of(killed)
        (left,) = folders(temporary) - {of_another.name}
        upload = {"files": ("clip.mp4", b"a video", "video/mp4")}
        (path,) = httpx.post(f"{url}/ui/gradio_api/upload", files=upload, timeout=30).json()
        assert Path(path).read_bytes() == b"a video"
        assert Path(path).is_relative_to(temporary / left)
        killed.kill()
        assert Path(path).exists()

        following = serve()
        url_of(following)
        assert left not in folders(temporary)
        assert of_another.name in folders(temporary)
        assert len(folders(temporary)) == 2
        assert following.terminate() == 0
        assert folders(temporary) == {of_another.name}
    assert folders(temporary) == set()


def test_an_upload_that_has_no_room_is_refused_and_leaves_nothing(serve, temporary, monkeypatch):
    monkeypatch.setenv("VSTREAM_SERVICE__UPLOADS_BYTES", "5000")
    url = url_of(serve(warm="always"))

    def upload(num_bytes, **options):
        files = {"files": ("clip.mp4", b"x" * num_bytes, "video/mp4")}
        return httpx.post(f"{url}/ui/gradio_api/upload", files=files, timeout=30, **options)

    assert upload(6000).json()["error"]["code"] == "uploads_full"
    assert upload(3000).status_code == 200
    assert upload(3000).status_code == 413
    assert upload(500).status_code == 200
    endless = httpx.post(f"{url}/ui/gradio_api/upload", content=iter([b"x" * 100]), timeout=30)
    assert endless.status_code == 411
    kept = list(temporary.rglob("clip.mp4"))
    assert sum(path.stat().st_size for path in kept) == 3500


def test_without_a_page_there_is_no_folder_for_it(serve, temporary):
    process = serve("--no-page")
    url_of(process)
    assert folders(temporary) == set()
    assert process.terminate() == 0


def test_a_service_that_cannot_start_leaves_none(serve, temporary):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = serve(port=taken.getsockname()[1])
        assert process.wait() != 0
    assert any("cannot listen" in line for line in process.err), process.err
    assert folders(temporary) == set()


def test_what_somebody_else_made_is_left_alone(serve, temporary):
    (temporary / f"{PREFIX}unlocked").mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / ".lock").touch()
    os.symlink(temporary / "elsewhere", temporary / f"{PREFIX}link")
    process = serve(warm="always")
    url_of(process)
    assert (temporary / f"{PREFIX}unlocked").is_dir()
    assert (temporary / "elsewhere" / ".lock").is_file()
    assert process.terminate() == 0


def test_the_page_takes_no_file_that_nobody_uploaded(serve, temporary):
    """Also not one that a visitor names as if it had been: it is not even copied."""
    secret = temporary / "secret.mp4"
    secret.write_bytes(b"not for visitors")
    url = f"{url_of(serve())}/ui"
    with httpx.Client(base_url=url, timeout=30) as http:
        (uploaded,) = http.post("gradio_api/upload", files={"files": ("a.mp4", b"a video")}).json()
        assert _said_of_file(http, secret) == _said_of_file(http, "/etc/hostname") == "error"
        assert _said_of_file(http, uploaded) == "success"
    copies = [path for path in temporary.rglob("*") if path.is_file() and path != secret]
    assert any(path.read_bytes() == b"a video" for path in copies)
    assert not any(path.read_bytes() == b"not for visitors" for path in copies)


def test_the_page_takes_large_bodies_as_videos_alone_and_keeps_no_history_of_runs(serve):
    url = url_of(serve(warm="always")) + "/ui"
    large = b"x" * (9 << 20)
    with httpx.Client(base_url=url, timeout=60) as http:
        assert http.post("gradio_api/queue/join", content=large).status_code == 413
        assert http.post("gradio_api/upload", files={"files": ("a.mp4", large)}).is_success
        assert http.get("gradio_api/runs").status_code == 404


def _said_of_file(http, path):
    """What comes of the event that begins to watch an uploaded file."""
    config = http.get("config").json()
    kinds = {one["id"]: one["type"] for one in config["components"]}
    (event,) = [
        one["id"]
        for one in config["dependencies"]
        if [kinds[number] for number in one["inputs"]] == ["file", "radio", "checkbox"]
    ]
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    session = {"session_hash": "somebody"}
    http.post(
        "gradio_api/queue/join",
        json={"fn_index": event, "data": [file, 1.0, False], **session},
    ).raise_for_status()
    with http.stream("GET", "gradio_api/queue/data", params=session) as events:
        for line in events.iter_lines():
            if line.startswith("data:") and "process_completed" in line:
                told = json.loads(line.removeprefix("data:"))
                return "success" if told["success"] else "error"
    raise AssertionError("it never ended")
