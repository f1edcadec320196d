"""ShellPart: keep the page up to date with the streams it shows."""

import json
import math
from html import escape
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import LOOKING, Page, asset, data_in
from app.page.pictures import live_picture, small_picture
from app.page.visitors import CAMERA_ID, OWN, Visitor
from app.page.words import STATES, condition_words, drawn, memory_words, wall
from app.sample import SAMPLE_VIDEO
from app.server.documents import FiringDocument, StreamDocument

_MOST_SHOWN = 64
_NOTICE_S = 8


class ShellPart:
    """The header of the page, in `shell`. It reports what is on the screen (shell.js) and receives
    the data that the parts draw. The value of `stream` is the page's name of the stream shown; it
    must not be an output of any event, which would reset it to an old value.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.shell: Any = gr.HTML(
            "",
            elem_id="shell",
            html_template=asset("shell.html"),
            js_on_load=asset("core.js") + asset("shell.js"),
            apply_default_css=False,
            told="null",
            chosen="null",
        )
        self.stream = gr.HTML(
            "",
            html_template="",
            js_on_load=asset("core.js") + asset("name.js"),
            elem_id="stream-name",
        )

    def begin(self, wall: gr.HTML, live: gr.HTML, details: gr.HTML) -> None:
        """Start updating: `wall` shows all streams, `live` and `details` the chosen one."""
        self.shell.look(self.look, None, [self.shell, wall, live, details], **LOOKING)

    def look(self, request: gr.Request, event: gr.EventData) -> tuple[Any, Any, Any, Any]:
        """Send the states of all streams, and pictures and details of those on the screen."""
        visitor, asked = self._page.visitor(request), data_in(event)
        visitor.looks += 1
        told: dict[str, Any] = {"look": visitor.looks}
        wall, live, details = gr.skip(), gr.skip(), gr.skip()
        try:
            told |= self._told(visitor)
            if asked.get("part") == "cameras":
                wall = self._pictures(visitor, asked.get("has"))
            elif (name := asked.get("stream")) in visitor.names:
                live = self._live(visitor, str(name), is_new=asked.get("shown") != name)
                one = visitor.streams[str(name)]
                details = drawn("details", name, one, visitor.rates.of(one.id, one.frames))
        except ServiceError as error:
            if error.code == "service_loading":
                told["loading"] = self._loading()
            else:
                told["problem"] = str(error)[:1].upper() + str(error)[1:]
        return gr.update(told=json.dumps(told)), wall, live, details

    def _told(self, visitor: Visitor) -> dict[str, Any]:
        streams = self._page.client.streams()
        had_camera = OWN in visitor.streams
        shown = {one.id: one for one in streams if not CAMERA_ID.fullmatch(one.id)}
        own = next((one for one in streams if one.id == visitor.camera_id), None)
        if own is not None and visitor.has_camera:
            shown = {OWN: own, **shown}
        has_begun = OWN in shown and not had_camera
        visitor.streams = shown
        firings = self._page.firings(visitor)
        _tell(visitor, firings)
        alerts = {one.stream_id: one for one in reversed(firings)}
        return {
            "streams": [
                {**_stream(name, one), "alert": _alert(alerts.get(one.id))}
                for name, one in visitor.streams.items()
            ],
            "unseen": sum(not one.is_seen for one in firings),
            "begun": OWN if has_begun else None,
            "model": self._page.model().model_dump(include={"id", "knows", "real_model"}),
        }

    def _pictures(self, visitor: Visitor, has: Any) -> Any:
        """The wall's pictures that are newer than the ones it has."""
        has = has if isinstance(has, dict) else {}
        found = {}
        for name, one in list(visitor.streams.items())[:_MOST_SHOWN]:
            taken_at = one.last_frame_at or 0.0
            if has.get(name) == taken_at:
                continue
            try:
                source = small_picture(self._page.client.frame(one.id))
            except ServiceError as error:
                if error.status == 0:
                    raise
                continue
            found[name] = {"src": source, "taken_at": taken_at}
        return gr.update(pictures=json.dumps(found)) if found else gr.skip()

    def _live(self, visitor: Visitor, name: str, *, is_new: bool) -> Any:
        """The live picture, unless it is shown already."""
        one = visitor.streams[name]
        shown = (name, one.last_frame_at)
        if shown == visitor.shown and not is_new:
            return gr.skip()
        visitor.shown = None
        try:
            kept = self._page.client.frame(one.id)  # if no frame has come yet, from the memory
        except ServiceError as error:
            if error.code == "frame_not_found":
                return gr.skip()
            raise
        visitor.shown = shown
        return live_picture(name, kept)

    def _loading(self) -> dict[str, Any]:
        try:
            told = self._page.client.ready()
        except ServiceError:
            told = {}
        return {"model": told.get("model_name", ""), "for_s": told.get("loading_s") or 0.0}


def _stream(name: str, one: StreamDocument) -> dict[str, Any]:
    kind, words = STATES.get(one.state, ("calm", one.state))
    age_s = one.last_frame_age_s
    return {
        "name": name,
        "state": one.state,
        "kind": kind,
        "words": words,
        "age_s": age_s if age_s is None or math.isfinite(age_s) else None,
        "problem": one.error.message if one.error else "",
        "is_sample": str(one.source.get("url") or "").endswith(SAMPLE_VIDEO.name),
        "memory": memory_words(one.memory),
    }


def _alert(firing: FiringDocument | None) -> dict[str, str] | None:
    if firing is None:
        return None
    return {"condition": condition_words(firing.condition), "at": wall(firing.at)}


def _tell(visitor: Visitor, firings: list[FiringDocument]) -> None:
    """Show a notice for each firing since the last look."""
    newest = max((one.id for one in firings), default=0)
    before, visitor.told_up_to = visitor.told_up_to, newest
    names = {one.id: name for name, one in visitor.streams.items()}
    for one in firings[::-1]:
        if before is not None and one.id > before:
            said = f"{names[one.stream_id]}: {condition_words(one.condition)}, {wall(one.at)}"
            gr.Info(escape(said), duration=_NOTICE_S, title="Alert")
