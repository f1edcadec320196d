"""Pictures: turn the service's JPEGs into HTML for the page."""

import io

from PIL import Image

from app.client import Picture
from app.page.words import drawn, wall
from app.stream_time import clock
from vstream.notebook import jpeg_url

_LIVE_SIDE_PX = 800
"""Longest side of a live picture, since the browser gets two a second."""
_SMALL_SIDE_PX = 400
_JPEG_QUALITY = 85


def live_picture(name: str, picture: Picture) -> str:
    return drawn("live_picture", name, jpeg_url(_bounded(picture, _LIVE_SIDE_PX)), when(picture))


def small_picture(picture: Picture) -> str:
    return jpeg_url(_bounded(picture, _SMALL_SIDE_PX))


def moment(
    picture: Picture, stream_id: str, stream_s: float, told: str = "", under: str = ""
) -> str:
    """A thumbnail that opens as a larger picture and a clip (moment.js), with its time or `under`
    below it; `told` adds to its caption. Shows the picture's own time, which may be before
    `stream_s`.
    """
    shown_s = stream_s if picture.stream_s is None else picture.stream_s
    caption = " · ".join(part for part in (when(picture), told) if part)
    of = f"{shown_s:.3f} {stream_id}"
    return drawn("moment", jpeg_url(picture.jpeg), caption, under or clock(shown_s), of)


def when(picture: Picture) -> str:
    parts = []
    if picture.stream_s is not None:
        parts.append(f"{clock(picture.stream_s)} of the stream")
    if picture.captured_at is not None:
        parts.append(f"taken at {wall(picture.captured_at)}")
    return ", ".join(parts)


def _bounded(picture: Picture, side_px: int) -> bytes:
    image = Image.open(io.BytesIO(picture.jpeg))
    if max(image.size) <= side_px:
        return picture.jpeg
    image.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
