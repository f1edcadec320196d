"""AlertPart: a condition in, a standing question out; how those of a stream stand, what fired."""

from html import escape
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import (
    LOOKING,
    QUIET,
    SLOW_LOOK_S,
    Page,
    asset,
    text_field,
    told_of_errors,
)
from app.page.pictures import moment
from app.page.visitors import Visitor
from app.page.words import drawn, wall
from app.server.documents import AlertDocument, FiringDocument
from app.stream_time import clock

_SHOWN = 6
"""So many firings of an alert are shown, the newest ones."""
_NOTICE_S = 8
_NONE = (
    '<p class="empty">There is no alert. You are told here, with the picture, whenever one '
    "fires.</p>"
)


class AlertPart:
    def __init__(self, page: Page, stream: gr.Dropdown) -> None:
        self._page = page
        gr.Markdown("### Tell me when …")
        with gr.Row():
            condition = text_field("condition", "there is a burger")
            add = gr.Button("Set alert", scale=1, min_width=110, elem_id="add-alert")
        alerts: Any = gr.HTML(_NONE, elem_id="alerts", js_on_load=asset("alerts.js"))
        for event in (condition.submit, add.click):
            event(self.add, [condition, stream], [condition, alerts], **QUIET)
        alerts.delete(self.remove, stream, alerts, **QUIET)
        gr.Timer(SLOW_LOOK_S).tick(self.look, stream, alerts, **LOOKING)
        stream.change(self.look, stream, alerts, **LOOKING)

    def add(self, condition: str, name: str | None, request: gr.Request) -> tuple[Any, Any]:
        stream_id = self._page.stream_id(name, request)
        if stream_id is None or not condition.strip():
            return gr.skip(), gr.skip()
        with told_of_errors():
            asked = condition.strip()
            if not asked.lower().startswith("tell me"):  # as models are used to be asked
                asked = f"tell me when {asked}"
            self._page.client.add_alert(stream_id, asked)
            return "", self.look(name, request)
        return gr.skip(), gr.skip()

    def remove(self, name: str | None, event: gr.EventData, request: gr.Request) -> Any:
        with told_of_errors():
            self._page.client.delete_alert(event.alert)
        return self.look(name, request)

    def look(self, name: str | None, request: gr.Request) -> Any:
        """The alerts on the stream; a notice for each firing since the last look."""
        visitor = self._page.visitor(request)
        stream_id = visitor.id_of(name)
        try:
            found = [one for one in self._page.client.alerts() if stream_id in one.stream_ids]
        except ServiceError:
            return gr.skip()  # the state of the stream says so
        self._tell(found, stream_id, visitor)
        kept, visitor.firings = visitor.firings, {}
        shown = [self._shown(alert, stream_id, visitor, kept) for alert in found]
        return f'<ul class="alerts">{"".join(shown)}</ul>' if shown else _NONE

    def _tell(self, found: list[AlertDocument], stream_id: str | None, visitor: Visitor) -> None:
        is_first = visitor.watched != stream_id
        visitor.watched = stream_id
        fired = {
            (alert.id, firing.at): alert
            for alert in found
            for firing in alert.firings
            if firing.stream_id == stream_id
        }
        for key in [] if is_first else fired.keys() - visitor.told_of:
            said = escape(fired[key].condition)
            gr.Info(f"{said}: at {wall(key[1])}", duration=_NOTICE_S, title="It is so")
        visitor.told_of = set(fired)

    def _shown(
        self, alert: AlertDocument, stream_id: str | None, visitor: Visitor, kept: dict[str, str]
    ) -> str:
        firings = [one for one in alert.firings if one.stream_id == stream_id][:_SHOWN]
        pictures = [self._picture(one, visitor, kept) for one in firings]
        probability = alert.last_probability.get(stream_id or "")
        return drawn("alert", alert, probability, pictures, next(iter(firings), None))

    def _picture(self, firing: FiringDocument, visitor: Visitor, kept: dict[str, str]) -> str:
        key = f"{firing.frame_url} {firing.sentence}"
        if key not in kept:
            try:
                picture = self._page.client.picture(firing.frame_url)
            except ServiceError:
                return f'<span class="gone">{clock(firing.at_s)}</span>'
            told = f"{firing.probability:.0%} probable"
            told += f" · “{firing.sentence}”" if firing.sentence else ""
            kept[key] = moment(picture, firing.stream_id, firing.at_s, told)
        visitor.firings[key] = kept[key]
        return kept[key]
