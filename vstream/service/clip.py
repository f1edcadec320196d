"""Clip: a memory and a moment in, the seconds around it out, as a short animated WebP.

It is made of the small pictures that the memory keeps, when it is asked for: nothing more is kept
of a stream, and what is forgotten is in no clip.
"""

import io
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image

from memory import MemoryReader

BEFORE_S, AFTER_S = 6.0, 2.0
MOST_PICTURES = 10
MOST_BYTES = 256_000
_QUALITY = 60
_SIDES_PX = (256, 128, 64)
"""The longest side, tried in turn until it is small enough."""
_SHORTEST_S, _LONGEST_S = 0.1, 1.0
"""A picture is shown until the next was taken, within these bounds."""


def pictures_around(memory: MemoryReader, at_s: float) -> list[tuple[float, bytes]]:
    """When each ended, in seconds of stream time, and its JPEG: those of the seconds around `at_s`,
    or the newest before. None that is damaged. With the model's turn in hand.
    """
    ids = memory.visible(at_s + AFTER_S, at_s - BEFORE_S) or memory.visible(at_s)[-1:]
    some = _spread(ids, MOST_PICTURES) if len(ids) > MOST_PICTURES else ids
    found = zip(some, memory.thumbnails(some), strict=True)
    return [(memory.info(block_id).end_s, jpeg) for block_id, jpeg in found if jpeg]


def animated(pictures: Sequence[tuple[float, bytes]]) -> bytes:
    """A WebP of at most `MOST_BYTES`, over and over, of one picture or more."""
    images = [Image.open(io.BytesIO(jpeg)).convert("RGB") for _, jpeg in pictures]
    times = [at_s for at_s, _ in pictures]
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


def _spread(ids: Sequence[int], count: int) -> list[int]:
    """So many of them, the first and the last among them."""
    return [ids[round(i * (len(ids) - 1) / (count - 1))] for i in range(count)]
