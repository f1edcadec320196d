"""Where the page's uploads lie: with their service they go, also with one that was killed."""

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
    """Begins a `vstream serve` process; none is left at the end of the test."""
    begun = []

    def begin(*options, port=0):
        options = ("--port", port, "--threads", "1", *options)
        begun.append(Process("serve", *options, TMPDIR=str(temporary)))
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
    process = serve()
    url_of(process)
    assert (temporary / f"{PREFIX}unlocked").is_dir()
    assert (temporary / "elsewhere" / ".lock").is_file()
    assert process.terminate() == 0
