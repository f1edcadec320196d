"""build_page: lay out the page of a service with Gradio."""

import os
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.state_holder import SessionState

from app.page.alert_part import AlertPart
from app.page.chat_part import ChatPart
from app.page.inbox_part import InboxPart
from app.page.live_part import LivePart
from app.page.moment_part import MomentPart
from app.page.page import QUIET, Page, asset
from app.page.recap_part import RecapPart
from app.page.search_part import SearchPart
from app.page.shell_part import ShellPart
from app.page.source_part import SourcePart
from app.page.timeline_part import TimelinePart

_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
_READABLE = {
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_hover_dark": "*primary_600",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
    "color_accent": "*primary_700",
    "checkbox_background_color_selected": "*primary_700",
    "checkbox_background_color_selected_dark": "*primary_600",
}
"""Gradio's own colours are too faint for WCAG AA."""
_KEEPS_IDS = "_keeps_ids"
_HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'


def build_page(page: Page) -> gr.Blocks:
    """Build the Gradio app that shows `page`."""
    keep_ids()
    # Gradio's record of events, which we do not use, would keep the newest 10,000.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
    blocks: gr.Blocks
    with gr.Blocks(title="vstream", analytics_enabled=False, fill_width=True) as blocks:
        head = ShellPart(page)
        from_s, to_s = gr.State(0.0), gr.State(0.0)
        with gr.Column(elem_id="cameras-part"):
            wall = gr.HTML(
                html_template=asset("wall.html"),
                js_on_load=asset("core.js") + asset("wall.js"),
                elem_id="wall",
                apply_default_css=False,
                pictures="{}",
            )
            with gr.Column(elem_id="source-part"):
                SourcePart(page, head.shell)
        with gr.Row(elem_id="stage"):
            live = LivePart(page)
            ChatPart(page, head.stream, from_s, to_s)
        with gr.Row(elem_id="alerts-part"):
            with gr.Column(elem_id="alert-part"):
                AlertPart(page, head.stream)
            with gr.Column(elem_id="inbox-part"):
                InboxPart(page)
        with gr.Column(elem_id="search-part"):
            search = SearchPart(page, head.stream, from_s, to_s)
        with gr.Column(elem_id="recap-part"):
            RecapPart(page, head.stream)
        with gr.Column(elem_id="strip-part"):
            timeline = TimelinePart(page, head.stream, from_s, to_s)
        MomentPart(page)
        search.begin(timeline.strip)
        head.begin(wall, live.live, live.details)
        blocks.load(page.tidy_up, **QUIET)
        blocks.unload(page.leave)
    return blocks


def looks() -> dict[str, Any]:
    """Theme and style of the page. Nothing is loaded from another host."""
    theme = gr.themes.Default(
        primary_hue="teal", neutral_hue="slate", radius_size="lg", font=_FONT, font_mono=_MONO
    ).set(**_READABLE)
    # Gradio prefixes every rule of its `css` with its own container, so none could match the body.
    style = f"<style>{asset('page.css')}{asset('parts.css')}</style>"
    return {"head": _HEAD + style, "theme": theme, "footer_links": []}


def keep_ids() -> None:
    """Make updated components keep their ids, in all sessions of this process. Safe to repeat.

    Works around a leak. Gradio (6.31) makes a new component for every update, `gr.skip()` included,
    and stores it under the old id; but the component has a new id of its own, and the next event
    with it as an input stores it under that id, too. The page updates every second, so a session
    kept some thousand components an hour, each with its contents.
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
