"""MomentPart: make the clip of the minute around a moment that a visitor opens."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from app.client import ServiceError
from app.page.page import QUIET, Page, asset, data_in, number_in
from app.page.pictures import when
from app.page.visitors import CAMERA_ID, OWN, Visitor
from app.server.documents import rfc3339

HALF_S = 30.0
_APART_S = 0.001
"""Times are exchanged in milliseconds, and no two pictures are closer than that."""
_NONE = {
    0: "No picture is kept of this time any more.",
    -1: "There is no picture before this one.",
    1: "There is no picture after this one.",
}


class MomentPart:
    """The browser shows moments (moment.js) and asks here for clips to play."""

    def __init__(self, page: Page) -> None:
        self._page = page
        part: Any = gr.HTML(
            elem_id="moment-part",
            js_on_load=asset("core.js") + asset("moment.js"),
            apply_default_css=False,
            clip="null",
        )
        part.play(self.play, None, part, trigger_mode="always_last", **QUIET)

    def play(self, request: gr.Request, event: gr.EventData) -> Any:
        """Send the clip around a moment, or around the picture before or after it."""
        told = data_in(event)
        by = next((one for one in _NONE if one == told.get("by")), 0)
        known: dict[str, Any] = {"number": told.get("number"), "by": by}
        visitor = self._page.visitor(request)
        name, at_s, t = str(told.get("stream"))[:128], number_in(event, "at_s"), told.get("t")
        try:
            stream_id = _stream_id(visitor, name)
            near_s = self._near(stream_id, at_s, str(t)[:64], by)
            known["name"] = OWN if stream_id == visitor.camera_id else stream_id
            known |= self._clip(stream_id, near_s, is_next=by > 0)
        except ServiceError as error:
            known["problem"] = _NONE[by] if error.code == "frame_not_found" else str(error)
        return gr.update(clip=json.dumps(known))

    def _near(self, stream_id: str, at_s: float | None, t: str, by: int) -> float:
        """The time of the picture at a moment (`t` is clock time) or before it, or the start of the
        next block. Raises ServiceError.
        """
        client = self._page.client
        if at_s is None:
            return client.frame(stream_id, t=t).stream_s or 0.0
        if by > 0:
            after = client.timeline(stream_id, 1, from_s=at_s + _APART_S)
            if after.parts:
                return after.from_s
        elif (until_s := at_s + (-_APART_S if by else _APART_S)) >= 0:
            return client.frame(stream_id, until_s).stream_s or 0.0
        raise ServiceError(_NONE[by], "frame_not_found")

    def _clip(self, stream_id: str, near_s: float, *, is_next: bool) -> dict[str, Any]:
        client = self._page.client
        clip = client.clip(stream_id, max(0.0, near_s - HALF_S), near_s + HALF_S)
        from_s = clip.stream_s or 0.0
        times_s = [from_s + one for one in clip.times_s]
        if is_next:
            at_s = next((one for one in times_s if one > near_s - _APART_S), times_s[-1])
        else:
            at_s = next((one for one in times_s[::-1] if one < near_s + _APART_S), times_s[0])
        picture = client.frame(stream_id, at_s + _APART_S)
        known = {"at_s": at_s, "from_s": from_s, "times": clip.times_s, "text": when(picture)}
        taken = rfc3339((picture.captured_at or 0.0) + _APART_S)
        if not CAMERA_ID.fullmatch(stream_id):  # nobody else may see a visitor's camera
            known["link"] = f"?{urlencode({'stream': stream_id, 't': taken})}"
        known["file"] = f"{stream_id}-{taken[:19].replace(':', '')}Z.mp4"
        return {**known, "mp4": base64.b64encode(clip.mp4).decode()}


def _stream_id(visitor: Visitor, name: str) -> str:
    """The id of a stream by its name or id. Raises ServiceError for another visitor's camera."""
    if name in (OWN, visitor.camera_id):
        return visitor.camera_id
    if CAMERA_ID.fullmatch(name):
        raise ServiceError("there is no such stream", "stream_not_found", 404)
    return name
