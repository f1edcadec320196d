"""LivePart: show the chosen stream's picture and memory, with buttons to control it."""

from typing import Any

import gradio as gr

from app.page.page import QUIET, Page, asset, data_in, showing_errors


class LivePart:
    """Create it where it belongs in the layout. ShellPart fills `live` and `details`."""

    def __init__(self, page: Page) -> None:
        self._page = page
        with gr.Column(elem_id="live-part"):
            self.live = gr.HTML(elem_id="live", apply_default_css=False)
            gr.HTML('<p class="live blank">No picture yet</p>', elem_id="live-blank")
            self.details = gr.HTML(elem_id="details", apply_default_css=False)
            controls: Any = gr.HTML(
                html_template=asset("controls.html"),
                js_on_load=asset("controls.js"),
                elem_id="controls",
                apply_default_css=False,
            )
        controls.pause(self.pause_or_resume, None, None, **QUIET)
        controls.restart(self.restart, None, None, **QUIET)
        controls.remove(self.remove, None, None, **QUIET)

    def pause_or_resume(self, request: gr.Request, event: gr.EventData) -> None:
        stream_id, client = self._named(request, event), self._page.client
        if stream_id is not None:
            with showing_errors():
                is_paused = client.stream(stream_id).state == "paused"
                (client.resume if is_paused else client.pause)(stream_id)

    def restart(self, request: gr.Request, event: gr.EventData) -> None:
        stream_id = self._named(request, event)
        if stream_id is not None:
            with showing_errors():
                self._page.client.restart(stream_id)

    def remove(self, request: gr.Request, event: gr.EventData) -> None:
        stream_id, visitor = self._named(request, event), self._page.visitor(request)
        if stream_id is not None:
            with showing_errors():
                self._page.client.delete_stream(stream_id, purge=True)
            if stream_id == visitor.camera_id:
                visitor.has_camera = False  # until its next frame

    def _named(self, request: gr.Request, event: gr.EventData) -> str | None:
        return self._page.stream_id(data_in(event).get("stream"), request)
