"""TimelinePart: the strip of a stream's history, and the range that a visitor picks on it."""

import json
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr

from app.client import ServiceError
from app.page.page import QUIET, Page, asset, data_in, number_in
from app.page.timeline_view import PARTS, Stretch, TimelineView
from app.page.visitors import Visitor
from app.page.words import wall
from vstream.notebook import jpeg_url

_NOTHING = json.dumps({"answers": [], "firings": []})
_NO_PICTURE = "no picture is kept of this moment"
_AFTER_S = 0.001
"""Added to a time that came as rounded text, so that the block that ended at it still counts."""


class TimelinePart:
    """Create it where it belongs in the layout. The browser draws the strip (timeline.js) and
    reports what it shows, where the pointer rests and which range was picked. It receives its data
    as JSON, so no text of a visitor or a service is ever parsed as markup.
    """

    def __init__(self, page: Page, stream: gr.HTML, from_s: gr.State, to_s: gr.State) -> None:
        """`from_s` and `to_s` receive the picked range, in stream time; both 0: none is picked."""
        self._page = page
        self._views: WeakKeyDictionary[Visitor, TimelineView] = WeakKeyDictionary()
        self.strip: Any = gr.HTML(
            elem_id="timeline",
            html_template=asset("timeline.html"),
            css_template=asset("timeline.css"),
            js_on_load=asset("core.js") + asset("timeline.js"),
            apply_default_css=False,
            marks=_NOTHING,
            picked="[0, 0]",
            moment="null",
            found="null",
        )
        strip = self.strip
        strip.look(self.look, stream, strip, trigger_mode="always_last", **QUIET)
        strip.peek(self.peek, stream, strip, trigger_mode="multiple", **QUIET)
        strip.pick(self.pick, None, [from_s, to_s], trigger_mode="always_last", **QUIET)
        for bound in (from_s, to_s):
            bound.change(_picked, [from_s, to_s], strip, **QUIET)

    def look(self, name: str, request: gr.Request, event: gr.EventData) -> Any:
        visitor = self._page.visitor(request)
        stream_id = visitor.id_of(name)
        view = self._views.setdefault(visitor, TimelineView(self._page.client))
        if stream_id is None:
            return gr.update(value="", marks=_NOTHING) if view.forget() else gr.skip()
        if not data_in(event).get("has"):
            view.forget()
        try:
            history = view.history(name, stream_id, _stretch(event))
            marks = view.marks(visitor.exchanges, name, stream_id)
        except ServiceError:
            return gr.skip()  # the stream's state shows the problem; keep the drawing
        told = {"value": history, "marks": marks}
        changed: dict[str, Any] = {
            key: json.dumps(one) for key, one in told.items() if one is not None
        }
        return gr.update(**changed) if changed else gr.skip()

    def peek(self, name: str, request: gr.Request, event: gr.EventData) -> Any:
        at_s = number_in(event, "at_s")
        told: dict[str, Any] = {"stream": name, "at_s": at_s, "src": None, "text": _NO_PICTURE}
        stream_id = self._page.visitor(request).id_of(name)
        if stream_id is not None and at_s is not None:
            try:
                found = self._page.client.frame(stream_id, at_s + _AFTER_S)
                told |= {"src": jpeg_url(found.jpeg), "text": ""}
                if found.captured_at is not None:
                    told["text"] = f"taken at {wall(found.captured_at)}"
            except ServiceError as error:
                if error.code != "frame_not_found":
                    told["text"] = str(error)
        return gr.update(moment=json.dumps(told))

    def pick(self, event: gr.EventData) -> tuple[float, float]:
        begin_s, end_s = number_in(event, "from_s"), number_in(event, "to_s")
        if begin_s is None or end_s is None or end_s <= begin_s:
            return 0.0, 0.0
        return begin_s, end_s


def _picked(from_s: float, to_s: float) -> Any:
    return gr.update(picked=json.dumps([from_s, to_s]))


def _stretch(event: gr.EventData) -> Stretch:
    parts = int(number_in(event, "parts") or PARTS)
    begin_s, end_s = number_in(event, "from_s"), number_in(event, "to_s")
    parts = min(PARTS, max(1, parts))
    if begin_s is None or end_s is None or end_s <= begin_s:
        return Stretch(parts)
    span_s = round(end_s - begin_s, 1)
    follows = bool(data_in(event).get("follows"))
    return Stretch(parts, begin_s, None if follows else end_s, span_s)
