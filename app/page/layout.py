"""build_page: a ServiceClient in, the page over it out: what stands where, what calls what."""

from typing import Any

import gradio as gr

from app.client import ServiceClient
from app.page.page import CAMERA_S, LOOK_S, Page

_ABOUT_RANGE = "Stream time in seconds; both 0 asks about all of it."


def build_page(client: ServiceClient) -> gr.Blocks:
    """Belongs to `client` for as long as it is open."""
    page = Page(client)
    blocks: gr.Blocks
    with gr.Blocks(title="vstream", analytics_enabled=False, fill_width=True) as blocks:
        gr.Markdown("# vstream", elem_id="title")
        about = gr.Markdown(elem_id="about")
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                stream = gr.Dropdown([], label="Stream", elem_id="stream", interactive=True)
                live = gr.Image(
                    label="Live", elem_id="live", interactive=False, height=300, buttons=[]
                )
                status = gr.HTML(elem_id="status")
            with gr.Column(scale=4, min_width=320):
                chat = gr.Chatbot(
                    show_label=False,
                    height=300,
                    elem_id="chat",
                    buttons=[],
                    placeholder="Ask at any moment: the answer shows the moments it used.",
                )
                question = gr.Textbox(
                    placeholder="Ask anything about the stream, at any moment",
                    show_label=False,
                    elem_id="question",
                    autofocus=True,
                    max_lines=1,
                )
                with gr.Row():
                    ask = gr.Button("Ask", variant="primary", elem_id="ask")
                    stop = gr.Button("Stop", elem_id="stop")
        evidence = gr.Gallery(
            label="The moments it used, best first",
            columns=8,
            height=190,
            elem_id="evidence",
            object_fit="contain",
            buttons=[],
        )
        strip = gr.HTML(elem_id="timeline")
        with gr.Row():
            begin = gr.Number(0, label="Ask only about: from", info=_ABOUT_RANGE, minimum=0)
            end = gr.Number(0, label="to", info="Seconds of the stream.", minimum=0)
        with gr.Row():
            with gr.Column(min_width=320):
                _sources(page, stream)
            with gr.Column(min_width=320):
                _watches(page, stream)
                _search(page, stream)

        asking: dict[str, Any] = {
            "fn": page.ask,
            "inputs": [question, stream, begin, end],
            "outputs": [chat, evidence],
            "concurrency_limit": None,
            "trigger_mode": "multiple",
            "show_progress": "hidden",
        }
        clear: dict[str, Any] = {"fn": None, "js": "() => ''", "outputs": question}
        question.submit(**asking)
        question.submit(**clear)
        ask.click(**asking)
        ask.click(**clear)
        stop.click(page.stop, concurrency_limit=None, show_progress="hidden")
        looking = gr.Timer(LOOK_S)
        looking.tick(
            page.look,
            inputs=[stream, begin, end],
            outputs=[live, status, strip],
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="once",
        )
        blocks.load(page.choices, outputs=stream, show_progress="hidden")
        blocks.load(page.about, outputs=about, show_progress="hidden")
        blocks.unload(page.leave)
    return blocks


def _sources(page: Page, stream: gr.Dropdown) -> None:
    with gr.Tabs():
        with gr.Tab("My camera"):
            camera = gr.Image(
                sources=["webcam"],
                streaming=True,
                label="This browser's camera",
                elem_id="camera",
                height=200,
                webcam_options=gr.WebcamOptions(mirror=False),
            )
            camera.stream(
                page.camera,
                inputs=camera,
                outputs=[],
                stream_every=CAMERA_S,
                time_limit=None,
                concurrency_limit=None,
                show_progress="hidden",
            )
            use = gr.Button("Ask about my camera", size="sm", elem_id="use-camera")
            use.click(page.choices, outputs=stream, show_progress="hidden")
        with gr.Tab("Address or file"):
            name = gr.Textbox(label="Name", placeholder="front-door", elem_id="source-name")
            url = gr.Textbox(
                label="Address",
                placeholder="rtsp://user:password@192.168.1.20/stream1",
                elem_id="source-url",
            )
            file = gr.File(label="or a video file", file_types=["video"], type="filepath")
            add = gr.Button("Watch it", elem_id="add-source")
            said = gr.Markdown(elem_id="source-said")
            add.click(page.add, inputs=[name, url, file], outputs=[stream, said])


def _watches(page: Page, stream: gr.Dropdown) -> None:
    with gr.Accordion("Tell me when ...", open=True):
        with gr.Row():
            condition = gr.Textbox(
                placeholder="tell me when a cat appears",
                show_label=False,
                scale=4,
                elem_id="condition",
            )
            add = gr.Button("Watch for it", scale=1, elem_id="add-watch")
        said = gr.Markdown()
        table = gr.Dataframe(
            headers=["condition", "fired", "last at", "probability now"],
            interactive=False,
            elem_id="watches",
        )
        condition.submit(page.add_watch, [condition, stream], [said, table])
        add.click(page.add_watch, [condition, stream], [said, table])
        gr.Timer(2).tick(page.watches, stream, table, show_progress="hidden")


def _search(page: Page, stream: gr.Dropdown) -> None:
    with gr.Accordion("Search the history", open=False):
        words = gr.Textbox(placeholder="a red car", show_label=False, elem_id="words")
        said = gr.Markdown()
        found = gr.Gallery(columns=4, height="auto", show_label=False, elem_id="found")
        words.submit(page.search, [words, stream], [found, said])
