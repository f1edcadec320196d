"""ModelPart: the name of a checkpoint in, how far its loading is out; and what answers now."""

from html import escape
from typing import Any

import gradio as gr

from app.client import ServiceError
from app.page.chat_part import examples_for
from app.page.page import LOOKING, QUIET, SLOW_LOOK_S, Page
from app.page.paragraph import note, trouble
from app.page.words import size
from app.server.documents import ModelChange, ModelDocument

_OF_EMBEDDED = (
    "It is the small model that comes with vstream (9.7 million parameters), trained on a made-up "
    "world of simple drawings: some hundred things as a burger, a ring or an arrow, their colours, "
    "where they stand, when they came. <b>It knows nothing of a real scene</b>: what it says of "
    "your room will be wrong. It is weak at what came before or after something, at motion and at "
    "exact times; it reads English of its own few words and no earlier turns, so each question is "
    "asked alone. For real scenes load a real Video-LLM."
)
_NO_DIALOGUE = "It reads no earlier turns: each question is asked alone."


class ModelPart:
    """Belongs into the layout where it is made. `examples` are given questions that the model that
    answers understands.
    """

    def __init__(self, page: Page, examples: list[gr.Button]) -> None:
        self._page = page
        gr.Markdown("### The model that answers")
        about = gr.HTML(elem_id="about")
        with gr.Row():
            name = gr.Textbox(
                placeholder="llava-hf/llava-onevision-qwen2-7b-ov-hf",
                show_label=False,
                container=False,
                scale=5,
                min_width=160,
                max_lines=1,
                elem_id="model-name",
            )
            load = gr.Button("Load it", scale=1, min_width=110, elem_id="load-model")
        progress = gr.HTML(elem_id="model-progress")
        for event in (name.submit, load.click):
            event(self.load, name, progress, **QUIET)
        gr.Timer(SLOW_LOOK_S).tick(self.look, None, [about, progress, *examples], **LOOKING)

    def load(self, name: str) -> str:
        """Begin to load another model."""
        if not name.strip():
            return note("Give a hub id, a directory that the service may open, or embedded.")
        try:
            return _change(self._page.client.load_model(name.strip()))
        except ServiceError as error:
            return trouble(error)

    def look(self) -> tuple[Any, ...]:
        """What answers, how far the newest change is, and questions for the model that answers."""
        client, as_before = self._page.client, gr.skip()
        try:
            change = client.model_change()
            progress: Any = as_before if change.state == "idle" else _change(change)
        except ServiceError:
            progress = as_before  # whoever may not load a model is not told of it either
        try:
            model = client.model()
        except ServiceError:
            return as_before, progress, *[as_before] * len(examples_for(""))
        return _about(model), progress, *examples_for(model.id)


def _about(model: ModelDocument) -> str:
    fps = model.sample_fps
    more = _OF_EMBEDDED if model.knows is not None else _NO_DIALOGUE * (not model.reads_dialogue)
    return (
        f'<p class="model"><b id="model">{escape(model.id)}</b> answers, from '
        f"{'one frame' if fps == 1 else f'{fps:g} frames'} a second. {more}</p>"
    )


def _change(change: ModelChange) -> str:
    """How far it has come."""
    name = escape(change.model or "")
    if change.state == "failed":
        why = escape(change.error or "unknown")
        return f'<p class="trouble" data-state="failed"><b>{name}</b> was not loaded: {why}</p>'
    if change.state == "done":
        return f'<p class="note" data-state="done"><b>{name}</b> was loaded.</p>'
    told = {
        "downloading": "is being downloaded",
        "loading": "is being loaded",
        "switching": "takes over",
    }[change.state]
    total = change.total_bytes
    far = (
        f'<progress max="{total}" value="{change.done_bytes}"></progress>'
        if total
        else ("<progress></progress>")
    )
    done = f": {size(change.done_bytes)} of {size(total)}" if total else ""
    return f'<p class="note" data-state="{change.state}"><b>{name}</b> {told}{done}</p>{far}'
