"""ChatPart: a question in, the chat out, again and again while the answer comes; who answers."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.page import LOOKING, QUIET, SLOW_LOOK_S, Page, text_field
from app.page.pictures import moment
from app.page.visitors import Exchange, Visitor
from app.page.words import drawn, length, moments
from app.stream_time import clock

_PICTURES = 6
_OLD_S = 5.0
"""A newest frame that is older is told of in a line of its own."""
_OF_EMBEDDED = (
    "what is there now?",
    "have you seen a burger?",
    "when did the arrow first appear?",
    "what color is the ring?",
)
_OF_ANY = (
    "What is happening now?",
    "What has changed in the last minute?",
    "What did you see first?",
    "How many people are there?",
)
_MARKS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "\\`*_{}[]#|~$"} | {"\n": "<br>"})
_PLACEHOLDER = (
    "**Ask at any moment.** The answer comes with the moments that it was computed from: "
    "click one to see it larger."
)


class ChatPart:
    """Belongs into the layout where it is made; questions are about what is chosen in `stream`."""

    def __init__(self, page: Page, stream: gr.Dropdown, from_s: gr.State, to_s: gr.State) -> None:
        """`from_s` and `to_s` bound what is asked about, in seconds of the stream; both 0: all."""
        self._page = page
        with gr.Column(elem_id="chat-part"):
            chat = gr.Chatbot(
                show_label=False,
                height=440,
                elem_id="chat",
                buttons=[],
                placeholder=_PLACEHOLDER,
                latex_delimiters=[],
                feedback_options=None,
                group_consecutive_messages=False,
            )
            with gr.Row(elem_id="examples"):
                examples = [
                    gr.Button(text, size="sm", min_width=60, elem_classes="example")
                    for text in _OF_EMBEDDED
                ]
            self._picked_part(from_s, to_s)
            with gr.Row(elem_id="asking"):
                question = text_field("question", "Ask about the stream", autofocus=True, scale=6)
                ask = gr.Button("Ask", variant="primary", elem_id="ask", scale=1, min_width=64)
                stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=64)
            model = gr.HTML(elem_id="about")
        always: dict[str, Any] = {"trigger_mode": "multiple", **QUIET}
        asking = {"fn": self.ask, "outputs": chat, **always}
        about = [stream, from_s, to_s]
        # What is listed for one event happens in order, each once the one before has ended: the
        # field is emptied first, and the answer, which may take long, works from a copy.
        asked = gr.Textbox(visible=False)
        for event in (question.submit, ask.click):
            taken = event(None, question, [asked, question], js="(text) => [text, '']", **always)
            taken.then(inputs=[asked, *about], **asking)
        for example in examples:
            example.click(inputs=[example, *about], **asking)
        stop.click(self.stop, None, chat, **QUIET)
        chat.clear(self.forget, None, None, **QUIET)
        gr.Timer(SLOW_LOOK_S).tick(self.look, None, [model, *examples], **LOOKING)

    def _picked_part(self, from_s: gr.State, to_s: gr.State) -> None:
        """Which stretch of the stream is asked about, while it is not all of it."""
        with gr.Row(visible=False, elem_id="picked") as row:
            words = gr.HTML(elem_id="picked-words")
            clear = gr.Button("Ask about all", size="sm", elem_id="clear-range", min_width=110)
        for bound in (from_s, to_s):
            bound.change(_picked, [from_s, to_s], [row, words], **QUIET)
        clear.click(lambda: (0.0, 0.0), None, [from_s, to_s], **QUIET)

    def ask(
        self, text: str, name: str | None, from_s: float, to_s: float, request: gr.Request
    ) -> Iterator[Any]:
        """The chat while the answer comes, and with its moments at the end."""
        visitor = self._page.visitor(request)
        if not text.strip():
            yield gr.skip()
            return
        stream_id = visitor.id_of(name)
        exchange = visitor.ask(text.strip(), stream_id or "")
        if stream_id is None:
            exchange.problem, exchange.is_running = "There is nothing to ask about yet.", False
            yield chat_messages(visitor.exchanges)
            return
        yield chat_messages(visitor.exchanges)
        try:
            for _ in self._answer(visitor, exchange, from_s, to_s):
                yield chat_messages(visitor.exchanges)
        except ServiceError as error:
            exchange.problem = "" if exchange.is_stopped else str(error)
        finally:
            exchange.is_running = False
        yield chat_messages(visitor.exchanges)
        if exchange.citations:
            exchange.pictures = self._pictures(exchange)
            yield chat_messages(visitor.exchanges)

    def look(self) -> tuple[Any, ...]:
        try:
            model = self._page.client.model()
        except ServiceError:
            return (gr.skip(),) * (1 + len(_OF_EMBEDDED))
        return drawn("about_model", model), *(_OF_EMBEDDED if model.id == "embedded" else _OF_ANY)

    def stop(self, request: gr.Request) -> Any:
        visitor = self._page.visitor(request)
        visitor.stop()
        return chat_messages(visitor.exchanges)

    def forget(self, request: gr.Request) -> None:
        visitor = self._page.visitor(request)
        visitor.stop()
        visitor.exchanges.clear()

    def _answer(
        self, visitor: Visitor, exchange: Exchange, from_s: float, to_s: float
    ) -> Iterator[None]:
        """Each time there is more of it. Ends, and has the service end, when it is stopped."""
        client, asked = self._page.client, {"role": "user", "content": exchange.question}
        before = visitor.dialogue(exchange.stream_id) if client.model().reads_dialogue else []
        address = f"stream://{exchange.stream_id}"
        if to_s > from_s:
            address += f"?from_s={from_s}&to_s={to_s}"
        with closing(client.ask([*before, asked], [address])) as answers:
            for answer in answers:
                if exchange.is_stopped:
                    return
                exchange.answer, exchange.citations = answer.text, answer.citations
                exchange.note, exchange.confidence = note_of(answer.evidence)
                yield

    def _pictures(self, exchange: Exchange) -> list[str]:
        """The best moments in the order of the stream; of those that are kept no more there is
        nothing to show.
        """
        best = sorted(exchange.citations, key=lambda one: -one.score)[:_PICTURES]
        shown = []
        for one in sorted(best, key=lambda one: one.end_s):
            try:
                picture = self._page.client.picture(one.frame_url)
            except ServiceError:
                continue
            shown.append(moment(picture, exchange.stream_id, one.end_s, f"score {one.score:.2f}"))
        return shown


def _picked(from_s: float, to_s: float) -> tuple[Any, str]:
    words = f"Asking about <b>{clock(from_s)}</b> to <b>{clock(to_s)}</b> only."
    return gr.update(visible=to_s > from_s), words


def chat_messages(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """All that is said is text: nothing in it becomes markup."""
    messages: list[dict[str, Any]] = []
    for one in exchanges:
        messages.append({"role": "user", "content": f"<p>{_text(one.question)}</p>"})
        messages.append({"role": "assistant", "content": drawn("answer", one, _text(one.answer))})
    return messages


def note_of(evidence: Sequence[dict[str, Any]]) -> tuple[str, float | None]:
    """What an answer is founded on, in words; and the confidence of one that is unsure."""
    if not evidence:
        return "", None
    (one, *_) = evidence
    sure = one["confidence"] if one["unsure"] else None
    parts = [f"first token after {one['ttft_ms']:.0f} ms", f"{moments(one['moments'])} read"]
    if one.get("plan"):  # a service of an older version has none
        judged = sum(each["judged"] + each["known"] for each in one["plan"]["found"])
        parts = [f"{moments(judged)} looked at in {one['total_ms'] / 1000:.1f} s"]
    elif spans := one.get("spans"):
        most = max(spans, key=lambda span: span["share"])
        parts.append(f"its words looked most at {clock(most['from_s'])} to {clock(most['to_s'])}")
    if one["newest_frame_age_s"] is not None:
        age_s = one["newest_frame_age_s"]
        age = f"{age_s:.1f} s" if age_s < 10 else length(age_s)
        apart = "\n" if age_s > _OLD_S else " · "
        return f"{' · '.join(parts)}{apart}the newest frame was {age} old", sure
    return " · ".join(parts), sure


def _text(said: str) -> str:
    """Escaped, also from Markdown."""
    return escape(said, quote=False).translate(_MARKS)
