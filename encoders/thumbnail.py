"""thumbnail: a Frame in, the small JPEG out that is kept beside its KV block as evidence."""

import io

from PIL import Image

from encoders.frame import Frame

LONGEST_SIDE_PX = 256
"""Enough to recognise a scene in a terminal or a web page, and about 10 kB: a small part of even
the smallest KV block."""

_JPEG_QUALITY = 80


def thumbnail(frame: Frame) -> bytes:
    """A JPEG whose longest side has at most `LONGEST_SIDE_PX` pixels; smaller ones keep theirs."""
    image = Image.fromarray(frame.pixels)
    # A box filter is the cheapest that does not alias; this runs for every block.
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
