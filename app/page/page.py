"""Page: what the parts of the page share: the service's client, who is there, and common words."""

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
"""How often alerts are looked at."""
QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_limit": None,
    "api_visibility": "private",
}
"""How every event of the page is: at once, for many visitors, and nobody's API."""
LOOKING: dict[str, Any] = {**QUIET, "trigger_mode": "once"}
"""An event that comes again by itself: a look that takes long is not followed by a queue."""
_LEFT_BEHIND_S = 3600.0
_LATEST_S = 1e9
_MODEL_S = 30.0
_FIRINGS = 200


def asset(name: str) -> str:
    """A file beside this one."""
    return files("app.page").joinpath(name).read_text("utf-8")


def text_field(elem_id: str, label: str, placeholder: str) -> gr.Textbox:
    """A line to write in, wide beside its button; `label` is for those who are read to."""
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
    """Whether the service is on this machine and may read what visitors upload."""
    visitors: Visitors = field(default_factory=Visitors)
    _known: dict[str, tuple[float, Any]] = field(default_factory=dict)
    """What all visitors are told, and when it was asked for, by its name."""

    def visitor(self, request: gr.Request) -> Visitor:
        return self.visitors.of(request.session_hash)

    def stream_id(self, name: str | None, request: gr.Request) -> str | None:
        return self.visitor(request).id_of(name)

    def model(self) -> ModelDocument:
        """Raises ServiceError."""
        return self._lately("model", _MODEL_S, self.client.model)

    def firings(self, visitor: Visitor) -> list[FiringDocument]:
        """On the streams that a visitor may ask about, newest first. Raises ServiceError."""
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
        """The page was closed: its camera's stream is nobody's any more."""
        visitor = self.visitors.leave(request.session_hash)
        if visitor is not None:
            self._forget_camera(visitor)

    def close(self) -> None:
        for visitor in self.visitors:
            self._forget_camera(visitor)

    def tidy_up(self) -> None:
        """Delete cameras of visitors who went without a word, or whose page was killed."""
        for visitor in self.visitors.leave_unseen():
            self._forget_camera(visitor)
        ours = {visitor.camera_id for visitor in self.visitors}
        try:
            for one in self.client.streams():
                if _is_camera(one) and one.id not in ours and _is_left_behind(one):
                    self.client.delete_stream(one.id, purge=True)
        except ServiceError:
            return  # the next visitor is another try

    def _forget_camera(self, visitor: Visitor) -> None:
        if visitor.has_camera:
            visitor.has_camera = False
            try:
                self.client.delete_stream(visitor.camera_id, purge=True)
            except ServiceError:
                return  # `tidy_up` will


def _is_camera(stream: StreamDocument) -> bool:
    """Whether a page made this stream: what an operator calls much the same is not touched."""
    return stream.source["type"] == "push" and CAMERA_ID.fullmatch(stream.id) is not None


def _is_left_behind(camera: StreamDocument) -> bool:
    """Whether no frame has come for an hour, or none since the service started again with it."""
    age_s = camera.last_frame_age_s
    return camera.memory.blocks > 0 if age_s is None else age_s > _LEFT_BEHIND_S


@contextmanager
def told_of_errors() -> Iterator[None]:
    """Within, a refusal of the service becomes a notice on the visitor's page."""
    try:
        yield
    except ServiceError as error:
        gr.Warning(str(error))


def stopped(part: str, looking: Looking | None) -> tuple[Any, Any]:
    """What `part` draws of what is looked for no more, and no button to stop it."""
    if looking is None:
        return gr.skip(), gr.update(visible=False)
    looking.is_stopped = looking.is_running
    return drawn(part, looking), gr.update(visible=False)


def told_in(event: gr.EventData) -> dict[str, Any]:
    """What a browser told with an event of its own."""
    return event._data if isinstance(event._data, dict) else {}


def number_in(event: gr.EventData, name: str) -> float | None:
    """A time among it; None for anything else."""
    told = told_in(event).get(name)
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told):
        return None
    return min(_LATEST_S, max(0.0, float(told)))
