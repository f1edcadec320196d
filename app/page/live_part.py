"""LivePart: a chosen stream in; its picture, state and memory out, again and again."""

import time
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import LOOK_S, LOOKING, QUIET, Page, asset, told_of_errors
from app.page.pictures import live_picture
from app.page.visitors import CAMERA_ID, OWN, Visitor
from app.page.words import drawn, no_stream, problem_line, status_line

_WAITING = drawn("no_picture", "Waiting for the first frame …")
_CONFIRM = "(name) => [confirm(`Delete ${name}, and all that it remembers?`) ? name : null]"


class LivePart:
    def __init__(self, page: Page) -> None:
        self._page = page
        with gr.Column(elem_id="live-part"):
            self.stream = gr.Dropdown(
                [],
                show_label=False,
                container=False,
                elem_id="stream",
                interactive=True,
                filterable=False,
            )
            running = gr.HTML(_WAITING, elem_id="live")
            status = gr.HTML(elem_id="status", js_on_load=asset("status.js"))
            with gr.Row(elem_id="controls"):
                pause = gr.Button("Pause", size="sm", elem_id="pause", min_width=60)
                restart = gr.Button("Restart", size="sm", elem_id="restart", min_width=60)
                remove = gr.Button("Remove", size="sm", elem_id="remove", min_width=60)
        shown = [self.stream, running, status, pause]
        gr.Timer(LOOK_S).tick(self.look, self.stream, shown, **LOOKING)
        pause.click(self.pause_or_resume, self.stream, **QUIET)
        restart.click(self.restart, self.stream, **QUIET)
        remove.click(self.remove, self.stream, js=_CONFIRM, **QUIET)

    def look(self, name: str | None, request: gr.Request) -> tuple[Any, Any, str, Any]:
        """What there is to choose from, the newest picture, the state, and what pause would do."""
        visitor = self._page.visitor(request)
        visitor.looks += 1
        try:
            told = {one.id: one for one in self._page.client.streams()}
            offered = [OWN] * visitor.has_camera
            offered += [one for one in told if not CAMERA_ID.fullmatch(one)]
            chosen = _chosen(name, offered, visitor)
            # Gradio takes no value that is not among the choices, and events with the old one are
            # still to come: a stream that is gone stays among them until the next look.
            listed = offered if name is None or name in offered else [*offered, name]
            choices: Any = gr.skip()
            if chosen != name:
                choices = gr.update(choices=listed, value=chosen)
            elif listed != visitor.listed:  # the choice may be another by the time this arrives
                choices = gr.update(choices=listed)
            visitor.offered, visitor.listed = offered, listed
            stream = told.get(visitor.id_of(chosen) or "")
            if stream is None:
                visitor.shown = None
                return choices, drawn("no_picture", "empty"), no_stream(visitor.looks), gr.skip()
            picture = self._picture(stream.id, stream.last_frame_at, visitor)
        except ServiceError as error:
            if error.code == "service_loading":
                visitor.shown = None
                loading = drawn("no_picture", "The model is being loaded …")
                return gr.skip(), loading, problem_line(str(error), visitor.looks), gr.skip()
            newest_at = visitor.newest_at
            age_s = None if newest_at is None else time.monotonic() - newest_at
            line = problem_line(str(error), visitor.looks, age_s)
            away = drawn("no_picture", "No picture: the service does not answer.")
            return gr.skip(), gr.skip() if visitor.shown else away, line, gr.skip()
        age_s = stream.last_frame_age_s
        visitor.newest_at = None if age_s is None else time.monotonic() - age_s
        rates = visitor.rates.of(stream.id, stream.frames)
        pause = "Resume" if stream.state == "paused" else "Pause"
        return choices, picture, status_line(stream, rates, visitor.looks), pause

    def pause_or_resume(self, name: str | None, request: gr.Request) -> None:
        stream_id = self._page.stream_id(name, request)
        if stream_id is None:
            return
        client = self._page.client
        with told_of_errors():
            is_paused = client.stream(stream_id).state == "paused"
            (client.resume if is_paused else client.pause)(stream_id)

    def restart(self, name: str | None, request: gr.Request) -> None:
        stream_id = self._page.stream_id(name, request)
        if stream_id is not None:
            with told_of_errors():
                self._page.client.restart(stream_id)

    def remove(self, name: str | None, request: gr.Request) -> None:
        visitor = self._page.visitor(request)
        stream_id = visitor.id_of(name)
        if stream_id is not None:
            with told_of_errors():
                self._page.client.delete_stream(stream_id, purge=True)
            if stream_id == visitor.camera_id:
                visitor.has_camera = False  # until its next frame

    def _picture(self, stream_id: str, taken_at: float | None, visitor: Visitor) -> Any:
        """Only one that is not shown already."""
        shown = (stream_id, taken_at)
        if shown == visitor.shown:
            return gr.skip()
        visitor.shown = None
        try:
            kept = self._page.client.frame(stream_id)  # without a frame, of a memory from before
        except ServiceError as error:
            if taken_at is None and error.code == "frame_not_found":
                return _WAITING
            raise
        visitor.shown = shown
        return live_picture(kept)


def _chosen(name: str | None, offered: list[str], visitor: Visitor) -> str | None:
    """The same as before while there is such a stream, but a camera that has just begun, or the
    stream of the moment that the page was opened at.
    """
    if visitor.wanted in offered:
        name, visitor.wanted = visitor.wanted, None
    if OWN in offered and OWN not in visitor.offered:
        return OWN
    if name in offered:
        return name
    return offered[0] if offered else None
