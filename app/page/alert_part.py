"""AlertPart: add alerts to a stream, and show their state."""

from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import LOOKING, QUIET, Page, asset, showing_errors, text_field
from app.page.words import drawn

_HEAD = '<h2>Alerts</h2><p class="note">This page notifies you whenever an alert fires.</p>'


class AlertPart:
    """Create it where it belongs in the layout. Alerts are on the stream that `stream` names."""

    def __init__(self, page: Page, stream: gr.HTML) -> None:
        self._page = page
        gr.HTML(_HEAD, apply_default_css=False)
        with gr.Row():
            condition = text_field("condition", "Tell me when", "a car is in the drive")
            add = gr.Button("Add alert", variant="primary", elem_id="add-alert", min_width=110)
        alerts: Any = gr.HTML(
            elem_id="alerts",
            js_on_load=asset("core.js") + asset("alerts.js"),
            apply_default_css=False,
        )
        for event in (condition.submit, add.click):
            event(self.add, [condition, stream], [condition, alerts], **QUIET)
        alerts.delete(self.remove, stream, alerts, **QUIET)
        alerts.look(self.look, stream, alerts, **LOOKING)

    def add(self, condition: str, name: str, request: gr.Request) -> tuple[Any, Any]:
        stream_id = self._page.stream_id(name, request)
        if stream_id is None or not condition.strip():
            return gr.skip(), gr.skip()
        with showing_errors():
            asked = condition.strip()
            if not asked.lower().startswith("tell me"):  # the form that models are used to
                asked = f"tell me when {asked}"
            self._page.client.add_alert(stream_id, asked)
            return "", self.look(name, request)
        return gr.skip(), gr.skip()

    def remove(self, name: str, event: gr.EventData, request: gr.Request) -> Any:
        with showing_errors():
            self._page.client.delete_alert(event.alert)
        return self.look(name, request)

    def look(self, name: str, request: gr.Request) -> Any:
        stream_id = self._page.stream_id(name, request)
        try:
            found = [
                one for one in self._page.client.alerts() if {"*", stream_id} & {*one.stream_ids}
            ]
        except ServiceError:
            return gr.skip()  # the stream's state shows the problem
        return drawn("alerts", name, stream_id, found)
