"""ChatPart: ask questions, and update the chat while the answer comes."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.code import code_of
from app.page.page import QUIET, Page, asset, text_field
from app.page.pictures import moment
from app.page.visitors import CAMERA_ID, Exchange, Visitor
from app.page.words import drawn, length, moments
from app.stream_time import clock

_PICTURES = 6
_OLD_S = 5.0
"""Give the newest frame's age a line of its own if it is older than this."""
_LOOK_S = 0.3
_FIRST_FRAME = "Waiting for the first frame …"
_FIRST_FRAME_S = 30.0
"""How long a question waits for the first frame of a new stream."""
_EXAMPLES = {
    "for-sample": (
        "what is there now?",
        "have you seen a burger?",
        "when did the arrow first appear?",
        "what color is the ring?",
    ),
    "for-any": (
        "What is happening now?",
        "What has changed in the last minute?",
        "What did you see first?",
        "Is anyone there?",
    ),
}


class ChatPart:
    """Create it where it belongs in the layout. Questions are about the stream that `stream` names.
    The page holds the chats of all streams, and shows only this stream's (core.js).
    """

    def __init__(self, page: Page, stream: gr.HTML, from_s: gr.State, to_s: gr.State) -> None:
        """`from_s` and `to_s` bound what is asked about, in stream time; both 0: everything."""
        self._page = page
        with gr.Column(elem_id="chat-part"):
            gr.HTML('<h2 class="only-read">Ask</h2>', apply_default_css=False)
            chat: Any = gr.HTML(
                [],
                elem_id="chat",
                html_template=asset("chat.html"),
                js_on_load=asset("core.js") + asset("chat.js"),
                apply_default_css=False,
                examples=_EXAMPLES,
            )
            self._picked_part(from_s, to_s)
            with gr.Row(elem_id="asking"):
                question = text_field("question", "Question about the stream", "Ask a question")
                ask = gr.Button("Ask", variant="primary", elem_id="ask", scale=1, min_width=64)
                stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=64)
        always: dict[str, Any] = {"trigger_mode": "multiple", **QUIET}
        about = [stream, from_s, to_s]
        # The steps of an event run in order. First we empty the field, so that answering, which may
        # take long, works from a copy.
        asked = gr.Textbox(visible=False)
        answered: list[Any] = []
        for event in (question.submit, ask.click):
            taken = event(None, question, [asked, question], js="(text) => [text, '']", **always)
            answered.append(taken.then(self.ask, [asked, *about], chat, **always))
        answered.append(chat.example(self.ask_example, about, chat, **always))
        # Answers that run at the same time may overtake each other: draw the final state last.
        for event in answered:
            event.then(self.look, None, chat, **always)
        chat.forget(self.forget, stream, chat, **QUIET)
        stop.click(self.stop, None, chat, **QUIET)

    def _picked_part(self, from_s: gr.State, to_s: gr.State) -> None:
        """Show which range is asked about, unless it is the whole stream."""
        with gr.Row(visible=False, elem_id="picked") as row:
            words = gr.HTML(elem_id="picked-words")
            clear = gr.Button(
                "Ask about everything", size="sm", elem_id="clear-range", min_width=110
            )
        for bound in (from_s, to_s):
            bound.change(_picked, [from_s, to_s], [row, words], **QUIET)
        clear.click(lambda: (0.0, 0.0), None, [from_s, to_s], **QUIET)

    def ask_example(
        self, name: str, from_s: float, to_s: float, request: gr.Request, event: gr.EventData
    ) -> Iterator[Any]:
        yield from self.ask(str(event.text)[:200], name, from_s, to_s, request)

    def ask(
        self, text: str, name: str, from_s: float, to_s: float, request: gr.Request
    ) -> Iterator[Any]:
        """Yield the chat while the answer comes, and with its moments at the end."""
        visitor = self._page.visitor(request)
        if not text.strip():
            yield gr.skip()
            return
        exchange = visitor.ask(text.strip(), name)
        yield chats(visitor.exchanges)
        try:
            for _ in self._asked(visitor, exchange, from_s, to_s):
                yield chats(visitor.exchanges)
        except ServiceError as error:
            exchange.problem = "" if exchange.is_stopped else str(error)
        finally:
            exchange.is_running = False
        yield chats(visitor.exchanges)
        if exchange.citations:
            exchange.pictures = self._pictures(exchange)
            yield chats(visitor.exchanges)

    def look(self, request: gr.Request) -> Any:
        return chats(self._page.visitor(request).exchanges)

    def stop(self, request: gr.Request) -> Any:
        self._page.visitor(request).stop()
        return self.look(request)

    def forget(self, name: str, request: gr.Request) -> Any:
        """Clear the chat about a stream; others stay."""
        visitor = self._page.visitor(request)
        visitor.stop()
        visitor.exchanges = [one for one in visitor.exchanges if one.name != name]
        return chats(visitor.exchanges)

    def _asked(
        self, visitor: Visitor, exchange: Exchange, from_s: float, to_s: float
    ) -> Iterator[None]:
        """Yield whenever the answer grows or waits for something else. Raises ServiceError."""
        give_up_at = math.inf
        while not exchange.is_stopped and time.monotonic() < give_up_at:
            waits = self._waits_for(exchange)
            if waits != exchange.waits:
                exchange.waits = waits
                yield
            if not waits:
                break
            if waits == _FIRST_FRAME:
                give_up_at = min(give_up_at, time.monotonic() + _FIRST_FRAME_S)
            time.sleep(_LOOK_S)
        exchange.waits = ""
        if not exchange.stream_id:
            exchange.problem = "" if exchange.is_stopped else "There is no stream to ask about yet."
        elif not exchange.is_stopped:
            yield from self._answer(visitor, exchange, from_s, to_s)

    def _waits_for(self, exchange: Exchange) -> str:
        """What to wait for before asking; empty: nothing. Raises ServiceError."""
        try:
            streams = {one.id: one for one in self._page.client.streams()}
        except ServiceError as error:
            if error.code == "service_loading":
                return "Loading the model …"
            raise
        if not exchange.stream_id:
            shown = [one for one in streams if not CAMERA_ID.fullmatch(one)]
            exchange.name = exchange.stream_id = shown[0] if shown else ""
        one = streams.get(exchange.stream_id)
        if one is None or one.memory.blocks or one.state not in ("connecting", "running"):
            return ""
        return _FIRST_FRAME

    def _answer(
        self, visitor: Visitor, exchange: Exchange, from_s: float, to_s: float
    ) -> Iterator[None]:
        """Yield whenever the answer grows. If stopped, ends and cancels it on the service."""
        client, asked = self._page.client, {"role": "user", "content": exchange.question}
        reads = self._page.model().reads_dialogue
        before = visitor.dialogue(exchange.stream_id) if reads else []
        address = f"stream://{exchange.stream_id}"
        if to_s > from_s:
            address += f"?from_s={from_s}&to_s={to_s}"
        exchange.code = code_of(client, exchange.question, address)
        with closing(client.ask([*before, asked], [address])) as answers:
            for answer in answers:
                if exchange.is_stopped:
                    return
                exchange.answer, exchange.citations = answer.text, answer.citations
                exchange.note, exchange.unsure = note_of(answer.evidence)
                yield

    def _pictures(self, exchange: Exchange) -> list[str]:
        """The best moments that are still kept, in stream order."""
        best = sorted(exchange.citations, key=lambda one: -one.score)[:_PICTURES]
        shown = []
        for one in sorted(best, key=lambda one: one.end_s):
            if one.frame_url is None:
                continue
            try:
                picture = self._page.client.picture(one.frame_url)
            except ServiceError:
                continue
            shown.append(moment(picture, exchange.stream_id, one.end_s, f"score {one.score:.2f}"))
        return shown


def _picked(from_s: float, to_s: float) -> tuple[Any, str]:
    words = f"Asking about <b>{clock(from_s)}</b> to <b>{clock(to_s)}</b> only."
    return gr.update(visible=to_s > from_s), words


def chats(exchanges: Sequence[Exchange]) -> list[str]:
    """Render exchanges as HTML; their text is escaped."""
    return [drawn("exchange", one) for one in exchanges]


def note_of(evidence: Sequence[dict[str, Any]]) -> tuple[str, str | None]:
    """Describe what an answer is based on, and how unsure it is, if it is. An answer about pictures
    that the model does not know says so itself.
    """
    if not evidence:
        return "", None
    (one, *_) = evidence
    unsure = None
    if one["unsure"]:
        unsure = "unsure" if one.get("strange") else f"unsure, {one['confidence']:.0%}"
    parts = [f"first token after {one['ttft_ms']:.0f} ms", f"{moments(one['moments'])} read"]
    if one.get("plan"):  # older services send none
        judged = sum(each["judged"] + each["known"] for each in one["plan"]["found"])
        parts = [f"{moments(judged)} judged in {one['total_ms'] / 1000:.1f} s"]
    elif spans := one.get("spans"):
        most = max(spans, key=lambda span: span["share"])
        parts.append(f"mostly from {clock(most['from_s'])} to {clock(most['to_s'])}")
    if one["newest_frame_age_s"] is not None:
        age_s = one["newest_frame_age_s"]
        age = f"{age_s:.1f} s" if age_s < 10 else length(age_s)
        apart = "\n" if age_s > _OLD_S else " · "
        return f"{' · '.join(parts)}{apart}newest frame {age} old", unsure
    return " · ".join(parts), unsure
