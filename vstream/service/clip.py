"""Clip: the seconds around a moment of a memory as a short animated WebP, or the pictures of a
stretch (see `vstream.service.clip_video`).

It is made on request, of the small pictures that the memory keeps: nothing more is kept of a
stream, and no clip shows what is forgotten.
"""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from PIL import Image

from memory import MemoryReader

BEFORE_S, AFTER_S = 6.0, 2.0
MOST_PICTURES = 10
MOST_WITHIN = 300
MOST_BYTES = 256_000
_QUALITY = 60
_SIDES_PX = (256, 128, 64)
"""The longest side, tried in turn until the file is small enough."""
_SHORTEST_S, _LONGEST_S = 0.1, 1.0
"""A picture is shown until the next was taken, within these bounds."""


class KeptPicture(NamedTuple):
    """A block's picture: when it ended, in stream seconds, when it was captured, and a JPEG."""

    end_s: float
    captured_at: float
    jpeg: bytes


def picture_at(memory: MemoryReader, at_s: float | None) -> KeptPicture | None:
    """Return the newest picture at `at_s` or at all, unless none is kept or it is damaged. Call it
    with the model's turn.
    """
    return next(iter(_some_of(memory, memory.visible(at_s)[-1:], 1)), None)


def pictures_around(memory: MemoryReader, at_s: float) -> list[KeptPicture]:
    """Return the pictures of the seconds around `at_s`, or the newest before, without damaged ones.
    Call it with the model's turn.
    """
    ids = memory.visible(at_s + AFTER_S, at_s - BEFORE_S) or memory.visible(at_s)[-1:]
    return _some_of(memory, ids, MOST_PICTURES)


def pictures_within(memory: MemoryReader, from_s: float, to_s: float) -> list[KeptPicture]:
    """Return those of a stretch, at most `MOST_WITHIN`; otherwise like `pictures_around`."""
    return _some_of(memory, memory.visible(to_s, from_s), MOST_WITHIN)


def animated(pictures: Sequence[KeptPicture]) -> bytes:
    """Return a looping WebP of one picture or more, of at most `MOST_BYTES` if that is possible."""
    images = [Image.open(io.BytesIO(one.jpeg)).convert("RGB") for one in pictures]
    times = [one.end_s for one in pictures]
    gaps_s = [later - earlier for earlier, later in pairwise(times)] + [_LONGEST_S]
    shown_ms = [round(1000 * min(max(gap_s, _SHORTEST_S), _LONGEST_S)) for gap_s in gaps_s]
    for side_px in _SIDES_PX:
        images[-1].thumbnail((side_px, side_px))
        first, *rest = [one.resize(images[-1].size) for one in images]
        made = io.BytesIO()
        first.save(
            made,
            "WEBP",
            save_all=True,
            append_images=rest,
            duration=shown_ms,
            loop=0,
            quality=_QUALITY,
            method=2,
        )
        if len(made.getvalue()) <= MOST_BYTES:
            break
    return made.getvalue()


def _some_of(memory: MemoryReader, ids: Sequence[int], most: int) -> list[KeptPicture]:
    some = _spread(ids, most) if len(ids) > most else ids
    found = zip(map(memory.info, some), memory.thumbnails(some), strict=True)
    return [KeptPicture(info.end_s, info.captured_at, jpeg) for info, jpeg in found if jpeg]


def _spread(ids: Sequence[int], count: int) -> list[int]:
    return [ids[round(i * (len(ids) - 1) / (count - 1))] for i in range(count)]
