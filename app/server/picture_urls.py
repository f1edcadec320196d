"""Picture addresses: a moment of a stream in, the path under which its picture is out."""

import math
from typing import Any
from urllib.parse import quote

_URL_PARTS = 1_000_000
"""A time in an address is told to a millionth of a second."""


def frame_url(stream_id: str, at_s: float) -> str:
    """Of the newest picture at `at_s`. The time is rounded up: a picture that was taken at that
    very time is not newer than it.
    """
    return _picture_url(stream_id, "frame.jpg", at_s)


def pictured(firing: dict[str, Any]) -> dict[str, Any]:
    """With the addresses of its pictures."""
    of = firing["stream_id"], firing["at_s"]
    clip_url = _picture_url(of[0], "clip.webp", of[1])
    return {**firing, "frame_url": frame_url(*of), "clip_url": clip_url}


def _picture_url(stream_id: str, name: str, at_s: float) -> str:
    t_s = math.ceil(at_s * _URL_PARTS) / _URL_PARTS
    return f"/v1/streams/{quote(stream_id)}/{name}?t_s={t_s:.6f}"
