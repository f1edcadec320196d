"""HistoryPart: words in, the moments of a stream's whole history most like them out."""

import gradio as gr

from app.client import ServiceError
from app.page.page import QUIET, Page, text_field
from app.page.pictures import moment
from app.page.words import moments, note, trouble
from app.server.documents import FoundMoment
from app.stream_time import clock

_MOMENTS = 12


class HistoryPart:
    def __init__(self, page: Page, stream: gr.Dropdown) -> None:
        self._page = page
        gr.Markdown("### Search the history")
        with gr.Row():
            words = text_field("words", "a red car")
            search = gr.Button("Search", scale=1, min_width=110, elem_id="search")
        found = gr.HTML(elem_id="found")
        for event in (words.submit, search.click):
            event(self.search, [words, stream], found, **QUIET)

    def search(self, words: str, name: str | None, request: gr.Request) -> str:
        stream_id = self._page.stream_id(name, request)
        if not words.strip():
            return note("Write what you look for.")
        if stream_id is None:
            return note("There is nothing to search yet.")
        client = self._page.client
        try:
            found = client.search(words.strip(), [stream_id], limit=_MOMENTS)
            shown = [self._shown(one) for one in found]
        except ServiceError as error:
            return trouble(error)
        if not shown:
            return note("Nothing is remembered yet.")
        told = f"{moments(len(shown))}, the most alike first. They need not show it."
        return f'{note(told)}<div class="moments">{"".join(shown)}</div>'

    def _shown(self, found: FoundMoment) -> str:
        """The picture; of a moment that is kept as text alone, its time."""
        told = f"score {found.score:.2f}" + (f": {found.text}" if found.text else "")
        if found.frame_url is None:
            return note(f"{clock(found.from_s)} to {clock(found.to_s)}, {told}")
        return moment(self._page.client.picture(found.frame_url), found.to_s, told)
