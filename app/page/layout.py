"""build_page: the Page of a service in, what Gradio shows of it out: what stands where."""

import os
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.state_holder import SessionState

from app.page.alert_part import AlertPart
from app.page.chat_part import ChatPart
from app.page.history_part import HistoryPart
from app.page.live_part import LivePart
from app.page.moment_part import MomentPart
from app.page.page import QUIET, Page, asset
from app.page.source_part import SourcePart
from app.page.timeline_part import TimelinePart

_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
_KEEPS_IDS = "_keeps_ids"
_HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def build_page(page: Page) -> gr.Blocks:
    """Belongs to `page` for as long as it is open."""
    keep_ids()
    # Gradio's record of events, which nobody looks at here, would hold the newest 10,000.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
    blocks: gr.Blocks
    with gr.Blocks(title="vstream", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            "<header><h1>vstream</h1><p>watches, remembers, and answers with the moments it used"
            "</p></header>",
            elem_id="title",
        )
        from_s, to_s = gr.State(0.0), gr.State(0.0)
        with gr.Row(elem_id="upper"):
            with gr.Column(scale=5, min_width=320):
                live = LivePart(page)
            with gr.Column(scale=6, min_width=320):
                ChatPart(page, live.stream, from_s, to_s)
        with gr.Column(elem_classes="card"):
            timeline = TimelinePart(page, live.stream, from_s, to_s)
            with gr.Column(elem_id="history-part"):
                HistoryPart(page, live.stream, from_s, to_s, timeline.strip)
        with gr.Row(elem_id="lower"):
            with (
                gr.Column(scale=5, min_width=320),
                gr.Column(elem_classes="card", elem_id="source-part"),
            ):
                SourcePart(page, live.stream)
            with (
                gr.Column(scale=6, min_width=320),
                gr.Column(elem_classes="card", elem_id="alert-part"),
            ):
                AlertPart(page, live.stream)
        MomentPart(page)
        blocks.load(page.tidy_up, **QUIET)
        blocks.unload(page.leave)
    return blocks


def looks() -> dict[str, Any]:
    """What Gradio is told of style and keys, wherever the page is shown. Nothing of it comes from
    another host: the page works without a network.
    """
    theme = gr.themes.Default(
        primary_hue="teal", neutral_hue="slate", radius_size="lg", font=_FONT, font_mono=_MONO
    )
    return {
        "css": asset("page.css"),
        "js": asset("page.js"),
        "head": _HEAD,
        "theme": theme,
        "footer_links": [],
    }


def keep_ids() -> None:
    """What an update puts in the place of a component keeps that component's id, in all sessions of
    this process. Repeating is harmless.

    Gradio (6.31) makes a new component of every update, `gr.skip()` included, and files it under
    the old one's id; but it has a new id of its own, and the next event that has it as an input
    files it under that as well. The page looks every second: a session kept some thousand
    components an hour, each with what it showed.
    """
    if getattr(SessionState, _KEEPS_IDS, False):
        return
    set_item = SessionState.__setitem__

    def file_under(state: SessionState, key: int, value: Any) -> None:
        if isinstance(value, Block):
            value._id = key
        set_item(state, key, value)

    SessionState.__setitem__ = file_under  # type: ignore[method-assign]
    setattr(SessionState, _KEEPS_IDS, True)
