"""RecapPart: recap what appeared in streams and what left, as the service reports it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import QUIET, Page, stopped
from app.page.pictures import moment
from app.page.visitors import RecapSoFar
from app.page.words import drawn
from app.server.recap_documents import RecapDocument, RecapEntryDocument

_HEAD = '<h2>Recap</h2><p class="note">What appeared and what left while you were away.</p>'
_SINCE = {"Last hour": "-1h", "Last 8 hours": "-8h", "Today": "today", "Everything": ""}
_ENTRIES = 100
"""How many entries to show with pictures."""


class RecapPart:
    def __init__(self, page: Page, stream: gr.HTML) -> None:
        self._page = page
        gr.HTML(_HEAD, apply_default_css=False)
        with gr.Row(elem_id="recapping"):
            since = gr.Radio(list(_SINCE), value="Last hour", label="Since", elem_id="since")
            all_streams = gr.Checkbox(label="All cameras", value=True, elem_id="of-all")
            tell = gr.Button("Recap", variant="primary", elem_id="recap", min_width=90, scale=0)
            stop = gr.Button("Stop", elem_id="stop-recap", min_width=70, scale=0, visible=False)
        told = gr.HTML(elem_id="recapped", apply_default_css=False)
        about = [stream, since, all_streams]
        tell.click(self.tell, about, [told, stop], trigger_mode="multiple", **QUIET)
        stop.click(self.stop, None, [told, stop], **QUIET)

    def tell(
        self, name: str, since: str, all_streams: bool, request: gr.Request
    ) -> Iterator[tuple[Any, Any]]:
        """Yield updates of the recap and the Stop button while entries come."""
        visitor = self._page.visitor(request)
        chosen = visitor.names if all_streams else [name]
        ids = {one: stream_id for one in chosen if (stream_id := visitor.id_of(one))}
        if not ids:
            yield '<p class="note">There is no stream to recap yet.</p>', gr.skip()
            return
        visitor.look_for("recap", recap := RecapSoFar())
        yield drawn("recap", recap), gr.update(visible=True)
        try:
            for _ in self._look(recap, ids, _from(since)):
                yield drawn("recap", recap), gr.skip()
        except ServiceError as error:
            recap.problem = str(error)
        if visitor.recap is recap:  # otherwise a newer one is shown
            yield drawn("recap", recap), gr.update(visible=False)

    def stop(self, request: gr.Request) -> tuple[Any, Any]:
        return stopped("recap", self._page.visitor(request).recap)

    def _look(
        self, recap: RecapSoFar, ids: dict[str, str], bounds: dict[str, Any]
    ) -> Iterator[None]:
        """Yield whenever the recap grows, until it ends or is stopped. Raises ServiceError."""
        names = {stream_id: name for name, stream_id in ids.items()}
        with closing(self._page.client.recap(list(names), **bounds)) as events:
            for one in events:
                if recap.is_stopped:
                    return
                if isinstance(one, RecapDocument):
                    recap.title, recap.coverage = one.title, one.coverage
                    recap.entries.sort(key=lambda told: told[0].from_)
                elif isinstance(one, RecapEntryDocument):
                    recap.entries.append((one, names[one.stream_id], self._picture(recap, one)))
                else:
                    recap.described = one.described
                yield

    def _picture(self, recap: RecapSoFar, one: RecapEntryDocument) -> str:
        if len(recap.entries) >= _ENTRIES:
            return ""
        try:
            picture = self._page.client.picture(one.frame_url)
        except ServiceError:
            return ""  # no longer kept
        return moment(picture, one.stream_id, one.at_s, f"{one.probability:.0%} probable")


def _from(since: str) -> dict[str, Any]:
    begin = _SINCE.get(since, "")
    if begin == "today":
        midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        begin = midnight.isoformat()
    return {"from": begin} if begin else {}
