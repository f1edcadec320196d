"""SearchPart: search a stream's history for moments that match some words, or find the spans in
which a statement is true.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import QUIET, Page, stopped, text_field
from app.page.pictures import moment
from app.page.visitors import Finding
from app.page.words import drawn, note, span_words, trouble
from app.server.documents import FoundMoment
from app.server.moment_documents import FoundSpanDocument, FoundSpans
from app.stream_time import clock

_HEAD = (
    '<h2>Search</h2><p class="note">Search ranks pictures by your words. Find lists the times when '
    "a statement is true.</p>"
)
_MOMENTS = 12
_SPANS = 24
"""How many spans to show with pictures; the strip shows all of them."""


class SearchPart:
    """Create it where it belongs in the layout. It also paints spans onto the `strip`."""

    def __init__(self, page: Page, stream: gr.HTML, from_s: gr.State, to_s: gr.State) -> None:
        """`from_s` and `to_s` bound the search, in stream time; both 0: everything."""
        self._page = page
        gr.HTML(_HEAD, apply_default_css=False)
        with gr.Row(elem_id="seeking"):
            self._words = text_field("words", "What to look for", "a red car, or: a car is parked")
            self._search = gr.Button("Search", scale=1, min_width=80, elem_id="search")
            self._find = gr.Button("Find when", scale=1, min_width=80, elem_id="find")
            self._stop = gr.Button("Stop", scale=1, elem_id="stop-finding", visible=False)
        self._found = gr.HTML(elem_id="found", apply_default_css=False)
        self._about = [self._words, stream, from_s, to_s]

    def begin(self, strip: gr.HTML) -> None:
        outputs = [self._found, self._stop, strip]
        for event in (self._words.submit, self._search.click):
            event(self.search, self._about, outputs, **QUIET)
        self._find.click(self.find, self._about, outputs, trigger_mode="multiple", **QUIET)
        self._stop.click(self.stop, None, [self._found, self._stop], **QUIET)

    def search(
        self, words: str, name: str, from_s: float, to_s: float, request: gr.Request
    ) -> tuple[str, Any, Any]:
        """Show the moments found, in place of any running find."""
        visitor = self._page.visitor(request)
        visitor.look_for("finding", None)
        found = self._alike(words.strip(), name, visitor.id_of(name), _stretch(from_s, to_s))
        return found, gr.update(visible=False), gr.update(found="null")

    def find(
        self, words: str, name: str, from_s: float, to_s: float, request: gr.Request
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Yield updates of the result, the Stop button and the strip while spans come."""
        visitor = self._page.visitor(request)
        stream_id = visitor.id_of(name)
        if stream_id is None or not words.strip():
            yield _nothing(words), gr.skip(), gr.skip()
            return
        visitor.look_for("finding", finding := Finding(words.strip(), name))
        yield drawn("finding", finding), gr.update(visible=True), _painted(finding)
        try:
            for _ in self._look(finding, stream_id, _stretch(from_s, to_s)):
                yield drawn("finding", finding), gr.skip(), _painted(finding)
        except ServiceError as error:
            finding.problem = str(error)
        if visitor.finding is finding:  # otherwise a newer one is shown
            yield drawn("finding", finding), gr.update(visible=False), _painted(finding)

    def stop(self, request: gr.Request) -> tuple[Any, Any]:
        return stopped("finding", self._page.visitor(request).finding)

    def _alike(
        self, words: str, name: str, stream_id: str | None, stretch: dict[str, float]
    ) -> str:
        if stream_id is None or not words:
            return _nothing(words)
        client = self._page.client
        try:
            found = client.search(words, [stream_id], limit=_MOMENTS, **stretch)
            shown = [self._shown(one) for one in found]
        except ServiceError as error:
            return trouble(error)
        if not shown:
            return note("Nothing in memory yet.")
        strange = next((one.strange for one in found if one.strange), None)
        return drawn("matches", name, shown, strange)

    def _look(self, finding: Finding, stream_id: str, stretch: dict[str, float]) -> Iterator[None]:
        """Yield whenever the find progresses, until it ends or is stopped. Raises ServiceError."""
        with closing(self._page.client.find(finding.statement, [stream_id], **stretch)) as events:
            for one in events:
                if finding.is_stopped:
                    return
                if isinstance(one, FoundSpans):
                    finding.spans, finding.coverage = one.data, one.coverage[stream_id]
                    finding.strange = one.strange.get(stream_id, "")
                elif isinstance(one, FoundSpanDocument):
                    finding.spans = sorted([*finding.spans, one], key=lambda span: span.from_s)
                else:
                    finding.judged = one.judged + one.known
                kept = finding.pictures
                finding.pictures = {
                    span.frame_url: kept.get(span.frame_url) or self._picture(span)
                    for span in finding.spans[:_SPANS]
                }
                yield

    def _picture(self, span: FoundSpanDocument) -> str:
        """The span's deciding picture; only text if the picture is no longer kept."""
        try:
            picture = self._page.client.picture(span.frame_url)
        except ServiceError:
            return note(span_words(span))
        under = f"{clock(span.from_s)} - {clock(span.to_s)}"
        return moment(picture, span.stream_id, span.at_s, span_words(span), under)

    def _shown(self, found: FoundMoment) -> str:
        """The moment's picture; for a moment kept only as text, its time and text."""
        told = f"score {found.score:.2f}" + (f": {found.text}" if found.text else "")
        if found.frame_url is None:
            return note(f"{clock(found.from_s)} to {clock(found.to_s)}, {told}")
        picture = self._page.client.picture(found.frame_url)
        return moment(picture, found.stream_id, found.to_s, told)


def _nothing(words: str) -> str:
    return note("There is no stream to search yet." if words.strip() else "Type what to look for.")


def _stretch(from_s: float, to_s: float) -> dict[str, float]:
    return {"from_s": from_s, "to_s": to_s} if to_s > from_s else {}


def _painted(finding: Finding) -> Any:
    spans = [
        {
            **span.model_dump(include={"from_s", "to_s", "at_s", "is_whole"}),
            "words": f"{span_words(span)}: “{finding.statement}”",
        }
        for span in finding.spans
    ]
    told = {"stream": finding.stream, "statement": finding.statement, "spans": spans}
    return gr.update(found=json.dumps(told))
