"""source.max_pixels over HTTP: of a file, of pushed frames, and of the page's camera."""

import io
import json

import pytest
from gif_bomb import gif_bomb
from PIL import Image
from service import running_service
from websockets.sync.client import connect

from app.client import ServiceClient
from app.page import gr
from app.page.page import Page
from app.page.source_part import SourcePart

SIDE = 16_000
PUSHED = {"id": "door", "source": {"type": "push"}}


@pytest.fixture(scope="module")
def huge_jpeg():
    """A grey picture of 56 million pixels in about a megabyte."""
    buffer = io.BytesIO()
    Image.new("L", (8000, 7000)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def never_decoded(monkeypatch):
    """What Pillow opens may be looked at, and not read."""

    def load(image, *how):
        raise AssertionError(f"{image.size} is decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "bomb.gif").write_bytes(gif_bomb(SIDE))
    with running_service(allow_files=[folder], max_body_bytes=16 << 20) as running:
        running.post("/v1/streams", PUSHED)
        running.folder = folder
        yield running


def require_refused(error):
    assert error["code"] == "FRAME_INVALID"
    assert "source.max_pixels" in error["message"]


def test_a_file_is_an_error_that_names_the_setting(service):
    service.post("/v1/streams", {"id": "bomb", "source": {"url": f"{service.folder}/bomb.gif"}})
    told = service.await_state("bomb", "error", timeout_s=10)
    assert told["error"]["code"] == "SOURCE_TOO_LARGE"
    assert "source.max_pixels" in told["error"]["message"]
    assert told["reconnects"] == 0


def test_a_pushed_frame_is_refused(service, huge_jpeg, never_decoded):
    refused = service.http.post("/v1/streams/door/frames", content=huge_jpeg)
    assert refused.status_code == 422
    require_refused(refused.json()["error"])


def test_a_frame_of_a_websocket_is_refused(service, huge_jpeg, never_decoded):
    with connect(f"{service.url.replace('http', 'ws')}/v1/streams/door/frames") as socket:
        socket.send(huge_jpeg)
        require_refused(json.loads(socket.recv())["error"])


def test_a_frame_of_the_page_s_camera_is_refused(service, huge_jpeg, never_decoded, tmp_path):
    """The page hands on what a browser says is its camera's picture."""
    (tmp_path / "frame.jpeg").write_bytes(huge_jpeg)
    with gr.Blocks(analytics_enabled=False) as layout:
        part = SourcePart(Page(ServiceClient(service.url), reads_uploads=False), gr.Dropdown())
    (camera,) = [one for one in layout.blocks.values() if getattr(one, "elem_id", "") == "camera"]
    sent = gr.FileData(path=str(tmp_path / "frame.jpeg"), orig_name="frame.jpeg")
    frame = camera.preprocess(camera.data_model(**sent.model_dump()))
    said = part.camera(frame, gr.Request(session_hash="a"))
    assert "source.max_pixels" in said
