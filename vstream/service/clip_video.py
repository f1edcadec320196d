"""clip_video: turns the pictures of a stretch into an MP4 that browsers play, each at its time.

It is made on request, in memory: nothing more is kept of a stream, and no clip shows what is
forgotten.
"""

import io
from collections.abc import Sequence
from concurrent.futures import CancelledError
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from PIL import Image

from vstream.device.asker import Asker
from vstream.service.clip import KeptPicture

_TIME_BASE = Fraction(1, 1000)
_LAST_MS = 1000
"""How long the last picture is shown."""
_HEAD_BYTES, _HEAD_BYTES_OF_EACH = 4096, 32
"""Kept free for the table of contents, which comes first, so that players start at once."""
_OPTIONS = {"preset": "veryfast", "crf": "25", "bf": "0", "g": "10"}


def clip_video(pictures: Sequence[KeptPicture], asker: Asker) -> bytes:
    """Return H.264 in the last picture's size. Raises CancelledError once the asker has left."""
    first_s = pictures[0].end_s
    by_time = {round(1000 * (one.end_s - first_s)): one.jpeg for one in pictures}
    lasts = {at: after - at for at, after in pairwise([*by_time, max(by_time) + _LAST_MS])}
    made = io.BytesIO()
    head_bytes = _HEAD_BYTES + _HEAD_BYTES_OF_EACH * len(by_time)
    options = {"moov_size": str(head_bytes)}
    with av.open(made, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", options=_OPTIONS)
        stream.width, stream.height = _even(_image(pictures[-1].jpeg).size)
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.thread_count = 1

        def put(frame: av.VideoFrame | None) -> None:
            for packet in stream.encode(frame):
                packet.duration = lasts[packet.pts or 0]
                container.mux(packet)

        for at_ms, jpeg in by_time.items():
            if asker.has_left:
                raise CancelledError
            image = _image(jpeg).convert("RGB").resize((stream.width, stream.height))
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = at_ms, _TIME_BASE
            put(frame)
        put(None)
    return made.getvalue()


def _image(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """Round down to even sides: each colour value of the video stands for two by two pixels."""
    width, height = (max(2, side - side % 2) for side in size)
    return width, height
