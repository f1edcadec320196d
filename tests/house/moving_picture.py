"""Film the page of `vstream demo` while it answers: docs/page.gif, as README shows it.

`make picture` does it, in about two minutes. The questions are those of the sample's script, put at
their moments; what the model says is what is filmed.
"""

import io
import json
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from demo_page import DemoPage  # noqa: E402  the folder is on the path only now
from fake_camera import browser  # noqa: E402
from page_visitor import PageVisitor  # noqa: E402

from app.client import ServiceClient  # noqa: E402
from app.sample import SAMPLE_SCRIPT  # noqa: E402

FROM_S, TO_S = 48, 90
EVERY_S = 0.5
SHOWN_MS = 250
"""Twice as fast as it was filmed."""
VIEW = {"width": 1280, "height": 900}
WIDTH_PX = 800
COLOURS = 192


def film(visitor, client, script):
    """Pictures of the page from FROM_S to TO_S of the sample, asked the questions in between."""
    questions = [entry for entry in script if FROM_S < entry["asked_s"] < TO_S]
    pictures = []
    while (now_s := client.stream("sample").stream_s) < TO_S:
        if questions and now_s >= questions[0]["asked_s"]:
            visitor.ask(questions.pop(0)["question"])
        if now_s >= FROM_S:
            pictures.append(Image.open(io.BytesIO(visitor.page.screenshot())).convert("RGB"))
        time.sleep(EVERY_S)
    return pictures


def write_gif(path, pictures):
    """One palette for all, so that what stands still costs nothing."""
    height = WIDTH_PX * VIEW["height"] // VIEW["width"]
    small = [one.resize((WIDTH_PX, height), Image.Resampling.LANCZOS) for one in pictures]
    sheet = Image.new("RGB", (WIDTH_PX, height * len(small[::5])))
    for row, one in enumerate(small[::5]):
        sheet.paste(one, (0, row * height))
    palette = sheet.quantize(COLOURS)
    frames = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in small]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[SHOWN_MS] * (len(frames) - 1) + [3000],
        loop=0,
        optimize=True,
    )


def main():
    script = json.loads(SAMPLE_SCRIPT.read_text("utf-8"))["questions"]
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        demo = DemoPage(Path(folder))
        try:
            url = demo.address(seconds=120)
            visitor = PageVisitor(chromium.new_page(viewport=VIEW))
            visitor.open(url)
            visitor.await_page()
            visitor.await_state("running", seconds=120)
            pictures = film(visitor, ServiceClient(url.split("/ui")[0]), script)
        finally:
            demo.end()
    write_gif(ROOT / "docs" / "page.gif", pictures)


if __name__ == "__main__":
    main()
