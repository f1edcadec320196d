"""Page: what the parts of the page share: the service's client, the visitors, and helpers."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, TypeVar, cast

import gradio as gr

from app.client import ServiceClient, ServiceError
from app.page.visitors import CAMERA_ID, Looking, Visitor, Visitors
from app.page.words import drawn
from app.server.documents import FiringDocument, ModelDocument, StreamDocument

Known = TypeVar("Known")

SLOW_LOOK_S = 2.0
"""How often to fetch firings."""
QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_limit": None,
    "api_visibility": "private",
}
"""Options of every event: no progress bar, any number at a time, not in Gradio's API."""
LOOKING: dict[str, Any] = {**QUIET, "trigger_mode": "once"}
"""Options of a repeated event: skip it while the last one is still running."""
_LEFT_BEHIND_S = 3600.0
_LATEST_S = 1e9
_MODEL_S = 30.0
_FIRINGS = 200


def asset(name: str) -> str:
    return files("app.page").joinpath(name).read_text("utf-8")


def text_field(elem_id: str, label: str, placeholder: str) -> gr.Textbox:
    """A one-line input next to its button; `label` is for screen readers."""
    return gr.Textbox(
        label=label,
        placeholder=placeholder,
        elem_id=elem_id,
        max_lines=1,
        show_label=False,
        container=False,
        scale=5,
        min_width=160,
    )


@dataclass(frozen=True)
class Page:
    """The page of one service. Gradio calls its parts from many threads."""

    client: ServiceClient
    reads_uploads: bool
    """Whether the service runs on this machine and may read uploads."""
    visitors: Visitors = field(default_factory=Visitors)
    _known: dict[str, tuple[float, Any]] = field(default_factory=dict)
    """What is the same for all visitors: name -> (time fetched, value)."""

    def visitor(self, request: gr.Request) -> Visitor:
        return self.visitors.of(request.session_hash)

    def stream_id(self, name: str | None, request: gr.Request) -> str | None:
        return self.visitor(request).id_of(name)

    def model(self) -> ModelDocument:
        """The service's model, fetched lately. Raises ServiceError."""
        return self._lately("model", _MODEL_S, self.client.model)

    def firings(self, visitor: Visitor) -> list[FiringDocument]:
        """Firings on the streams that a visitor sees, newest first. Raises ServiceError."""
        ids = {one.id for one in visitor.streams.values()}
        found = self._lately(
            "firings", SLOW_LOOK_S, lambda: self.client.firings(limit=_FIRINGS).data
        )
        return [one for one in found if one.stream_id in ids]

    def forget_firings(self) -> None:
        self._known.pop("firings", None)

    def _lately(self, name: str, lasts_s: float, ask: Callable[[], Known]) -> Known:
        asked_at, known = self._known.get(name, (-math.inf, None))
        if time.monotonic() > asked_at + lasts_s:
            known = ask()
            self._known[name] = (time.monotonic(), known)
        return cast(Known, known)

    def leave(self, request: gr.Request) -> None:
        """Forget a visitor whose page was closed, and delete the stream of their camera."""
        visitor = self.visitors.leave(request.session_hash)
        if visitor is not None:
            self._forget_camera(visitor)

    def close(self) -> None:
        for visitor in self.visitors:
            self._forget_camera(visitor)

    def tidy_up(self) -> None:
        """Delete the cameras of visitors who vanished, or whose page process was killed."""
        for visitor in self.visitors.leave_unseen():
            self._forget_camera(visitor)
        ours = {visitor.camera_id for visitor in self.visitors}
        try:
            for one in self.client.streams():
                if _is_camera(one) and one.id not in ours and _is_left_behind(one):
                    self.client.delete_stream(one.id, purge=True)
        except ServiceError:
            return  # the next visit tries again

    def _forget_camera(self, visitor: Visitor) -> None:
        if visitor.has_camera:
            visitor.has_camera = False
            try:
                self.client.delete_stream(visitor.camera_id, purge=True)
            except ServiceError:
                return  # `tidy_up` will do it


def _is_camera(stream: StreamDocument) -> bool:
    """Whether a page made this stream; an operator's stream of a similar name is left alone."""
    return stream.source["type"] == "push" and CAMERA_ID.fullmatch(stream.id) is not None


def _is_left_behind(camera: StreamDocument) -> bool:
    """Whether no frame has come for an hour, or none since the service restarted."""
    age_s = camera.last_frame_age_s
    return camera.memory.blocks > 0 if age_s is None else age_s > _LEFT_BEHIND_S


@contextmanager
def showing_errors() -> Iterator[None]:
    """Show the service's errors as notices on the visitor's page."""
    try:
        yield
    except ServiceError as error:
        gr.Warning(str(error))


def stopped(part: str, looking: Looking | None) -> tuple[Any, Any]:
    """Stop a find or a recap: draw its `part`, and hide the Stop button."""
    if looking is None:
        return gr.skip(), gr.update(visible=False)
    looking.is_stopped = looking.is_running
    return drawn(part, looking), gr.update(visible=False)


def data_in(event: gr.EventData) -> dict[str, Any]:
    """Return the data that the browser sent with an event."""
    return event._data if isinstance(event._data, dict) else {}


def number_in(event: gr.EventData, name: str) -> float | None:
    """Return a time in that data, in seconds; None for anything else."""
    value = data_in(event).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(_LATEST_S, max(0.0, float(value)))
