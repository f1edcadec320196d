"""InboxPart: list the firings of alerts on all cameras, seen and unseen."""

from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import LOOKING, QUIET, Page, asset, data_in, number_in, showing_errors
from app.page.pictures import moment
from app.page.visitors import Visitor
from app.page.words import condition_words, drawn
from app.server.documents import FiringDocument

_SHOWN, _MOST_SHOWN = 24, 200


class InboxPart:
    def __init__(self, page: Page) -> None:
        self._page = page
        inbox: Any = gr.HTML(
            elem_id="inbox",
            js_on_load=asset("core.js") + asset("inbox.js"),
            apply_default_css=False,
        )
        inbox.look(self.look, None, inbox, **LOOKING)
        inbox.see(self.see, None, inbox, trigger_mode="multiple", **QUIET)

    def look(self, request: gr.Request, event: gr.EventData) -> Any:
        """Show the newest `limit` firings, or the newest unseen ones."""
        visitor, asked = self._page.visitor(request), data_in(event)
        limit = int(min(_MOST_SHOWN, max(_SHOWN, number_in(event, "limit") or _SHOWN)))
        try:
            found = self._page.firings(visitor)
            unseen = sum(not one.is_seen for one in found)
            shown = [one for one in found if not (asked.get("unseen") and one.is_seen)]
            rows = self._rows(visitor, shown[:limit])
        except ServiceError:
            return gr.skip()  # the stream's state shows the problem
        return drawn("inbox", rows, unseen, bool(asked.get("unseen")), len(shown) > limit)

    def see(self, request: gr.Request, event: gr.EventData) -> Any:
        """Mark one firing, by its `id`, or all of them as seen."""
        visitor, firing_id = self._page.visitor(request), data_in(event).get("id")
        with showing_errors():
            unseen = [one.id for one in self._page.firings(visitor) if not one.is_seen]
            ids = [one for one in unseen if firing_id in (None, one)]
            if ids:
                self._page.client.see_firings(ids)
                self._page.forget_firings()
        return self.look(request, event)

    def _rows(self, visitor: Visitor, found: list[FiringDocument]) -> list[dict[str, Any]]:
        names = {one.id: name for name, one in visitor.streams.items()}
        kept, visitor.firings = visitor.firings, {}
        rows = []
        for one in found:
            picture = kept.get(one.frame_url) or self._picture(one)
            visitor.firings[one.frame_url] = picture
            told = {"name": names[one.stream_id], "condition": condition_words(one.condition)}
            rows.append({"firing": one, "picture": picture, **told})
        return rows

    def _picture(self, firing: FiringDocument) -> str:
        """The firing's picture; empty if it is no longer kept. Raises ServiceError."""
        try:
            picture = self._page.client.picture(firing.frame_url)
        except ServiceError as error:
            if error.status == 0:
                raise
            return ""
        return moment(picture, firing.stream_id, firing.at_s, f"{firing.probability:.0%} probable")
