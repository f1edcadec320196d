"""Clip: a memory and a moment in, the seconds around it out, as a short animated WebP; or a stretch
in, its pictures out (see `vstream.service.clip_video`).

It is made of the small pictures that the memory keeps, when it is asked for: nothing more is kept
of a stream, and what is forgotten is in no clip.
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
"""The longest side, tried in turn until it is small enough."""
_SHORTEST_S, _LONGEST_S = 0.1, 1.0
"""A picture is shown until the next was taken, within these bounds."""


class KeptPicture(NamedTuple):
    """Of a block: when it ended, in seconds of stream time, and was captured; a JPEG."""

    end_s: float
    captured_at: float
    jpeg: bytes


def pictures_around(memory: MemoryReader, at_s: float) -> list[KeptPicture]:
    """Those of the seconds around `at_s`, or the newest before. None that is damaged. With the
    model's turn in hand.
    """
    ids = memory.visible(at_s + AFTER_S, at_s - BEFORE_S) or memory.visible(at_s)[-1:]
    return _some_of(memory, ids, MOST_PICTURES)


def pictures_within(memory: MemoryReader, from_s: float, to_s: float) -> list[KeptPicture]:
    """Those of a stretch, at most `MOST_WITHIN`; else as `pictures_around`."""
    return _some_of(memory, memory.visible(to_s, from_s), MOST_WITHIN)


def animated(pictures: Sequence[KeptPicture]) -> bytes:
    """A WebP of at most `MOST_BYTES`, over and over, of one picture or more."""
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
