"""A browser whose camera plays a video of known content: Chromium with a file for a camera."""

from contextlib import contextmanager
from pathlib import Path

import av
from playwright.sync_api import expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def write_y4m(path, pictures, fps):
    """RGB pictures as the uncompressed video that Chromium plays in a loop."""
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in pictures:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextmanager
def browser(camera=None, more_flags=()):
    """Chromium; each new context is another visitor."""
    expect.set_options(timeout=60_000)  # what it waits for comes late on a busy machine
    flags = [*FLAGS, *more_flags]
    if camera is not None:
        flags.append(f"--use-file-for-fake-video-capture={camera}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        try:
            yield chromium
        finally:
            chromium.close()
