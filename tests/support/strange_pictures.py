"""Pictures that are none of the made-up world: what ffmpeg draws, and photos that Gradio has."""

from itertools import islice
from pathlib import Path

import av
import gradio
import numpy as np
from PIL import Image

PHOTOS = Path(gradio.__file__).parent / "media_assets" / "images"
SOURCES = ("testsrc", "testsrc2", "mandelbrot", "smptebars")


def drawn_by_ffmpeg(source, count):
    """One a second."""
    with av.open(f"{source}=r=1", format="lavfi") as container:
        return [one.to_ndarray(format="rgb24") for one in islice(container.decode(video=0), count)]


def photos():
    """The photos by name."""
    return {
        path.name: np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(PHOTOS.iterdir())
        if path.suffix in (".jpg", ".jpeg")
    }


def write_test_clip(path, source="testsrc2", seconds=8):
    """A clip of it, four frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for pixels in drawn_by_ffmpeg(source, seconds):
            for _ in range(4):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame.reformat(320, 240)))
        container.mux(stream.encode(None))
    return path
