"""Strange pictures: say why a model can tell nothing about the moments of an answer.

They show in the thumbnails kept with the blocks, so nothing else need be stored, and streams stored
before this existed are covered too. What was found is kept in the memory beside its block.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from encoders import Family
from memory import MemoryReader
from vstream.question import Evidence

_LOOKED_AT = 8
"""How many of the best moments to look at, besides the newest: it takes the vision tower."""
_FACT = "is strange"


def strange_reason(
    memory: MemoryReader, family: Family, evidence: Sequence[Evidence]
) -> str | None:
    """Return a sentence if the newest picture is strange, or half of the best, or none of their
    pictures is kept; else None. Skips what was forgotten meanwhile. Call it with the device's turn.
    """
    if family.recommended.knows is None or not evidence:
        return None
    newest = max(evidence, key=lambda one: one.end_s)
    looked_at = [newest, *(one for one in evidence if one is not newest)][: 1 + _LOOKED_AT]
    there = memory.seen(newest.end_s, min(one.end_s for one in looked_at))
    pictures = {one.block_id: one.thumbnail for one in looked_at if one.block_id in there}
    strange = _are_strange(memory, family, pictures)
    if pictures and not strange:
        return _unseen(family)
    return _reason(family) if strange.get(newest.block_id) or _are_most(strange) else None


def strange_stretch(memory: MemoryReader, family: Family, block_ids: Sequence[int]) -> str | None:
    """Do the same if half of the blocks are strange, looking at a few. Call it with the device's
    turn. Raises BlockNotFoundError, StoreError.
    """
    if family.recommended.knows is None or not block_ids:
        return None
    some = block_ids[:: -(-len(block_ids) // _LOOKED_AT)]
    pictures = zip(some, memory.thumbnails(some), strict=True)
    strange = _are_strange(memory, family, dict(pictures))
    if not strange:
        return _unseen(family)
    return _reason(family) if _are_most(strange) else None


def _are_strange(
    memory: MemoryReader, family: Family, pictures: Mapping[int, bytes]
) -> dict[int, bool]:
    """Return it for blocks whose picture is kept, or was when it was looked at."""
    facts = {number: memory.facts.get(number, _FACT) for number in pictures}
    new = [number for number, known in facts.items() if known is None and pictures[number]]
    if new:
        found = family.are_strange([_pixels(pictures[number]) for number in new])
        for number, is_strange in zip(new, found, strict=True):
            memory.facts.put(number, _FACT, float(is_strange))
            facts[number] = float(is_strange)
    return {number: bool(known) for number, known in facts.items() if known is not None}


def _are_most(strange: Mapping[int, bool]) -> bool:
    return bool(strange) and 2 * sum(strange.values()) >= len(strange)


def _reason(family: Family) -> str:
    return f"This model knows {family.recommended.knows}; this picture is not of its world."


def _unseen(family: Family) -> str:
    why = "no picture of that time is kept to tell whether it is of its world."
    return f"This model knows {family.recommended.knows}; {why}"


def with_warning(text: str, reason: str) -> str:
    """Return what is said of a strange picture, and that it means nothing."""
    said = text.rstrip()
    if said and said[-1] not in ".!?":
        said = f"{text}."
    return f"{said} {reason}".lstrip()


def _pixels(thumbnail: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB"))
