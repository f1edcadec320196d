"""SourcePart: make a stream from a visitor's camera, an address or a video."""

import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from app.client import ServiceError
from app.page.page import QUIET, Page, asset
from app.page.visitors import Visitor
from app.page.words import drawn
from app.sample import SAMPLE_VIDEO
from vstream.sources.still_picture import MAX_BYTES

_CAMERA_S = 0.15
"""Seconds between frames of the browser's camera."""
_CAMERA_RETENTION = "6h"
_CONSTRAINTS = {
    "video": {"width": {"ideal": 640}, "height": {"ideal": 480}, "facingMode": "environment"}
}
_SPEEDS: list[tuple[str, float | str]] = [
    ("in real time", 1.0),
    ("twice as fast", 2.0),
    ("4 times as fast", 4.0),
    ("as fast as possible", "max"),
]
_NO_UPLOADS = (
    "This page belongs to a service on another machine, which cannot read files uploaded here. "
    "Give it the video's address instead, or open the service's own page, at `/ui` there."
)


class SourcePart:
    """Create it where it belongs in the layout; `shell` shows the streams it adds."""

    def __init__(self, page: Page, shell: gr.HTML) -> None:
        self._page = page
        gr.HTML("<h2>Add a camera</h2>", apply_default_css=False)
        with gr.Tabs(elem_id="sources"):
            with gr.Tab("My camera"):
                self._camera_tab()
            with gr.Tab("Address"):
                self._address_tab(shell)
            with gr.Tab("Video"):
                self._video_tab(shell)

    def _camera_tab(self) -> None:
        gr.HTML(drawn("about_camera"), js_on_load=asset("camera.js"), apply_default_css=False)
        camera = gr.Image(
            sources=["webcam"],
            streaming=True,
            label="Camera of this browser",
            show_label=False,
            elem_id="camera",
            height=260,
            format="jpeg",
            type="filepath",  # undecoded: the service checks its size before decoding
            image_mode=None,
            buttons=[],
            webcam_options=gr.WebcamOptions(mirror=False, constraints=_CONSTRAINTS),
        )
        said = gr.Markdown(elem_id="camera-said", elem_classes="said")
        camera.stream(self.camera, camera, said, stream_every=_CAMERA_S, time_limit=None, **QUIET)

    def _address_tab(self, shell: gr.HTML) -> None:
        url = gr.Textbox(
            label="Address of a camera or video",
            placeholder="rtsp://user:password@192.168.1.20/stream1",
            elem_id="source-url",
            max_lines=1,
        )
        name = gr.Textbox(
            label="Name", placeholder="front-door", elem_id="source-name", max_lines=1
        )
        add = gr.Button("Add", variant="primary", elem_id="add-address")
        said = gr.Markdown(elem_id="source-said", elem_classes="said")
        for event in (add.click, url.submit, name.submit):
            event(self.add_address, [url, name], [shell, said], **QUIET)

    def _video_tab(self, shell: gr.HTML) -> None:
        if not self._page.reads_uploads:
            gr.Markdown(_NO_UPLOADS, elem_id="no-uploads")
            return
        file = gr.File(
            label="Video file", file_types=["video"], type="filepath", height=140, elem_id="file"
        )
        speed = gr.Radio(_SPEEDS, value=1.0, label="Speed", elem_id="speed")
        loop = gr.Checkbox(label="Loop", elem_id="loop")
        with gr.Row():
            add = gr.Button("Add", variant="primary", elem_id="add-video", min_width=120)
            sample = gr.Button("Add the sample", elem_id="add-sample", min_width=200)
        said = gr.Markdown(elem_id="video-said", elem_classes="said")
        add.click(self.add_video, [file, speed, loop], [shell, said], **QUIET)
        sample.click(self.add_sample, None, [shell, said], **QUIET)

    def camera(self, path: str | None, request: gr.Request) -> Any:
        """Send a frame of the browser's camera (a file) to the service; return an error message."""
        page = self._page
        if path is None or page.visitors.has_left(request.session_hash):
            return gr.skip()
        visitor = page.visitor(request)
        if not visitor.pushing.acquire(blocking=False):
            return gr.skip()  # the last frame is still being sent; a newer one will come
        try:
            if not visitor.has_camera:
                self._begin(visitor)
            page.client.push(visitor.camera_id, _read(path))
        except ServiceError as error:
            if error.code == "stream_not_found":
                visitor.has_camera = False  # the service restarted: create the stream again
            is_said = error.status == 0 or error.code in ("STREAM_PAUSED", "service_loading")
            return "" if is_said else f"⚠ {error}"  # the stream's state already shows these
        finally:
            visitor.pushing.release()
        return ""

    def _begin(self, visitor: Visitor) -> None:
        try:
            self._page.client.create_stream(
                visitor.camera_id, {"type": "push"}, memory={"retention": _CAMERA_RETENTION}
            )
        except ServiceError as error:
            if error.code != "stream_exists":  # an earlier reply may have been lost
                raise
        visitor.has_camera = True

    def add_address(self, url: str, name: str, request: gr.Request) -> tuple[Any, str]:
        if not url.strip():
            return gr.skip(), "Enter an address."
        return self._add(name.strip() or _name_of(url), {"url": url.strip()}, request)

    def add_video(
        self, file: str | None, speed: float | str, loop: bool, request: gr.Request
    ) -> tuple[Any, str]:
        if file is None:
            return gr.skip(), "Choose a video file first."
        return self._add(_name_of(file), {"url": file, "speed": speed, "loop": loop}, request)

    def add_sample(self, request: gr.Request) -> tuple[Any, str]:
        return self._add("sample", {"url": str(SAMPLE_VIDEO), "loop": True}, request)

    def _add(self, name: str, source: dict[str, Any], request: gr.Request) -> tuple[Any, str]:
        try:
            taken = {one.id for one in self._page.client.streams()}
            made = self._page.client.create_stream(_free(name, taken), source)
        except ServiceError as error:
            return gr.skip(), f"⚠ Not added: {error}"
        visitor = self._page.visitor(request)
        visitor.streams = {**visitor.streams, made.id: made}
        told = {"stream": made.id, "number": time.monotonic()}
        return gr.update(chosen=json.dumps(told)), f"Added **{made.id}**."


def _read(path: str) -> bytes:
    """Read a file, but only one byte more than a frame may have: the service refuses it then."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _name_of(address: str) -> str:
    """Make a slug from the last part of the path, or from the host; never from a password."""
    try:
        parts = urlsplit(address.strip())
        last = Path(parts.path).stem or parts.hostname or ""
        # The path may hold a password with an unescaped slash, or parameters of some cameras.
        last = "" if "@" in parts.path or "=" in parts.path else last
    except ValueError:
        last = ""
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40] or "stream"


def _free(name: str, taken: set[str]) -> str:
    number, found = 2, name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found
