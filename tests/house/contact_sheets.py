"""Photograph every part of the page over two cameras: docs/page/*.webp, in light and dark, at three
widths.

`make sheets` does it, in about two minutes. What is asked, found and told is what the model says.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fake_camera import browser  # noqa: E402  the folder is on the path only now
from owl_stream import write_owl_video  # noqa: E402
from page_visitor import PageVisitor  # noqa: E402
from rtsp_camera import RtspCamera  # noqa: E402
from service import running_service  # noqa: E402

from app.sample import SAMPLE_VIDEO  # noqa: E402

PARTS = ("cameras", "live", "ask", "alerts", "search", "recap")
SIZES = {390: 844, 820: 1100, 1280: 900}
SCHEMES = ("light", "dark")
SHOWN_PX = {390: 312, 820: 492, 1280: 800}
"""How wide one is on its sheet."""
COLUMNS = {390: 6, 820: 3, 1280: 2}
GAP_PX = 12
QUALITY = 62
SEEN_S = 75
"""Of the sample, before it is photographed."""


def use(visitor, service):
    """Ask, wait, search and recap, as somebody would."""
    page = visitor.page
    visitor.choose("front")
    visitor.show("alerts")
    visitor.fill("condition", "there is a burger")
    page.keyboard.press("Enter")
    page.wait_for_selector("#alerts .alert")
    service.await_stream("front", lambda told: told["stream_s"] > SEEN_S, timeout_s=180)
    for question in ("what is there now?", "have you seen a burger?"):
        visitor.ask(question)
        page.wait_for_function("() => !document.querySelector('#chat .more')")
    visitor.show("search")
    visitor.fill("words", "a burger is there now")
    page.locator("#find").click()
    page.wait_for_selector("#found [role=status]")
    visitor.show("recap")
    page.locator("#recap").click()
    page.wait_for_selector("#recapped [role=status]")


def photograph(visitor, width):
    pictures = []
    for part in PARTS:
        visitor.show(part)
        visitor.page.wait_for_timeout(1200)
        pictures.append(Image.open(io.BytesIO(visitor.page.screenshot())).convert("RGB"))
    return pictures if width < 1024 else [one for at, one in enumerate(pictures) if at != 2]


def sheet(pictures, width):
    shown, columns = SHOWN_PX[width], COLUMNS[width]
    height = shown * SIZES[width] // width
    rows = -(-len(pictures) // columns)
    size = (columns * (shown + GAP_PX) + GAP_PX, rows * (height + GAP_PX) + GAP_PX)
    made = Image.new("RGB", size, "#808890")
    for at, one in enumerate(pictures):
        left, top = at % columns * (shown + GAP_PX), at // columns * (height + GAP_PX)
        small = one.resize((shown, height), Image.Resampling.LANCZOS)
        made.paste(small, (GAP_PX + left, GAP_PX + top))
    return made


def main():
    out = ROOT / "docs" / "page"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, browser() as chromium:
        folder = Path(name)
        write_owl_video(folder / "owl.mp4")
        with RtspCamera(Path(shutil.copy(SAMPLE_VIDEO, folder / "front.mp4"))) as camera:
            streams = [
                {"id": "front", "source": {"url": camera.url}},
                {"id": "yard", "source": {"url": camera.url.replace("front.mp4", "owl.mp4")}},
                {"id": "garage", "source": {"url": "rtsp://127.0.0.1:9/none"}},
            ]
            with running_service(page=True, streams=streams, allow_private=True) as service:
                visitor = PageVisitor(chromium.new_page())
                visitor.open(f"{service.url}/ui")
                visitor.await_page()
                use(visitor, service)
                for scheme in SCHEMES:
                    visitor.page.emulate_media(color_scheme=scheme)
                    for width, height in SIZES.items():
                        visitor.page.set_viewport_size({"width": width, "height": height})
                        made = sheet(photograph(visitor, width), width)
                        made.save(out / f"{scheme}-{width}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
