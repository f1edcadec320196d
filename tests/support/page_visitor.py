"""PageVisitor: somebody with the page open in a real browser: what they do, and what they see."""

import base64
import io
import re
from contextlib import contextmanager

import numpy as np
from PIL import Image
from rtsp_camera import free_port

from vstream.sources import SourceConfig, VideoFile

_SIDE_PX = 48
"""Pictures are compared at this size: JPEG and scaling leave it alone, other things do not."""


@contextmanager
def shown_page(client):
    """The page of a service, by its client, in this process: the Page, and its address."""
    from app.page.layout import build_page, looks  # Gradio takes seconds to import
    from app.page.page import Page

    page, port = Page(client, reads_uploads=False), free_port()
    blocks = build_page(page)
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False}
    blocks.launch(server_name="127.0.0.1", server_port=port, **options, **looks())
    yield page, f"http://127.0.0.1:{port}/"
    page.close()
    blocks.close(verbose=False)


def opened_anew(page, url):
    """As a new tab would show it; that would read all of the page's code again, and take 3.5 s of a
    core, where it takes 1.9 s in the same tab."""
    page.goto("about:blank")
    page.goto(url, wait_until="load")
    return page


@contextmanager
def visit(chromium, url, width=1280, height=1000):
    """Another visitor, with a camera that may be used."""
    context = chromium.new_context(viewport={"width": width, "height": height})
    context.grant_permissions(["camera"])
    visitor = PageVisitor(context.new_page())
    visitor.open(url)
    yield visitor
    context.close()


class PageVisitor:
    """`page` is Playwright's. `hosts` are those that the page has asked for anything."""

    def __init__(self, page):
        self.page = page
        self.hosts = set()
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, url):
        self.page.goto(url, wait_until="load")

    def await_page(self):
        """Until it has been told of streams, or of why it is told of none."""
        self.page.wait_for_function("() => window.vstream?.told", timeout=60_000)

    def show(self, part):
        """cameras, live, ask, alerts, search or recap."""
        self.page.evaluate("(part) => window.vstream.show(part)", part)

    def choose(self, name):
        self.page.wait_for_function("(name) => window.vstream.find(name)", arg=name)
        self.page.evaluate("(name) => window.vstream.choose(name)", name)

    @property
    def stream(self):
        """What the page calls the one that it shows."""
        return self.page.evaluate("window.vstream.stream")

    def await_stream(self, name):
        self.page.wait_for_function(
            "(name) => window.vstream.stream === name", arg=name, timeout=60_000
        )

    def add_source(self):
        """Where cameras, addresses and videos are added."""
        self.show("cameras")
        if not self.page.locator("#source-part").is_visible():
            self.page.get_by_role("button", name="Add a camera").click()

    def start_camera(self):
        """Until the service watches it, and it is what is shown."""
        self.await_page()
        self.add_source()
        self.page.get_by_text("Use this camera").click()
        record = self.page.locator("#camera").get_by_role("button").filter(has_text="Record")
        record.click(timeout=60_000)
        self.await_stream("my camera")
        self.await_state("running")

    def await_state(self, state, seconds=60):
        self.page.wait_for_selector(
            f"#state[data-state={state}]", timeout=1000 * seconds, state="attached"
        )

    def fill(self, field, text):
        self.page.locator(f"#{field} textarea, #{field} input").first.fill(text)

    def ask(self, text):
        """With Enter, which empties the field."""
        if not self.page.locator("#question").is_visible():
            self.show("ask")
        self.fill("question", text)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function(
            "() => document.querySelector('#question textarea, #question input').value === ''"
        )

    def await_chat(self, text, seconds=60):
        self.page.wait_for_selector(f"#chat >> text={text}", timeout=1000 * seconds)

    def answers(self):
        return self.page.locator("#chat .said").all_inner_texts()

    def moments(self, within, seconds=60):
        """The pictures there, as pixels, once there are any; read at once, as the list may be drawn
        again.
        """
        shown = "[...document.querySelectorAll(`${within} button.moment img`)]"
        sources = self.page.wait_for_function(
            f"(within) => {{ const all = {shown}.map((one) => one.src); return all[0] && all; }}",
            arg=within,
            timeout=1000 * seconds,
        )
        return [pixels_of(one) for one in sources.json_value()]

    def live_picture(self):
        return pixels_of(self.page.locator("#live img").get_attribute("src"))

    def widest(self):
        """How far beyond the window anything reaches, in pixels."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")


class ShownThings:
    """What the sample shows in some stretches of its time, to tell pictures by."""

    def __init__(self, video, fps, **stretches_s):
        """`stretches_s` are pairs of seconds by name."""
        with VideoFile(str(video), SourceConfig(max_side=384)) as opened:
            self.pictures = {
                name: [
                    frame.pixels
                    for frame in opened.frames_at(
                        [begin_s + n / fps for n in range(int((end_s - begin_s) * fps))]
                    )
                ]
                for name, (begin_s, end_s) in stretches_s.items()
            }
        self._small = {name: [_small(one) for one in them] for name, them in self.pictures.items()}

    def name_of(self, pixels):
        """Which thing a picture shows, and how far it is from the nearest that shows it."""
        shown = _small(pixels)
        apart = {
            name: min(float(np.abs(shown - one).mean()) for one in them)
            for name, them in self._small.items()
        }
        name = min(apart, key=apart.get)
        return name, apart[name]


def pixels_of(source):
    """Of an <img> that holds its picture."""
    jpeg = base64.b64decode(re.sub("^data:image/jpeg;base64,", "", source))
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _small(pixels):
    """The square in the middle: a browser may crop what a camera takes."""
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(square.resize((_SIDE_PX, _SIDE_PX)), np.float32)
