"""Strange pictures: the moments of an answer in, why its model can say nothing of them out.

They are seen in the thumbnails that are kept with the blocks, so nothing else need be stored, and a
stream that was stored before this was known tells it as well. What was found is kept in the memory
beside its block.
"""

from collections.abc import Mapping, Sequence

from encoders import Family
from memory import MemoryReader
from vstream.question import Evidence

_LOOKED_AT = 8
"""So many of the best moments, and the newest: looking takes the model's vision tower."""
_FACT = "is strange"


def strange_reason(
    memory: MemoryReader, family: Family, evidence: Sequence[Evidence]
) -> str | None:
    """A sentence where the newest picture is strange, or half of the best; else None. What was
    forgotten meanwhile is not looked at.

    With the device's turn.
    """
    if family.recommended.knows is None or not evidence:
        return None
    newest = max(evidence, key=lambda one: one.end_s)
    looked_at = [newest, *(one for one in evidence if one is not newest)][: 1 + _LOOKED_AT]
    there = set(memory.visible(newest.end_s, min(one.end_s for one in looked_at)))
    pictures = {
        one.block_id: one.thumbnail for one in looked_at if one.thumbnail and one.block_id in there
    }
    told = _are_strange(memory, family, pictures)
    return _reason(family) if told.get(newest.block_id) or _are_most(told) else None


def strange_stretch(memory: MemoryReader, family: Family, block_ids: Sequence[int]) -> str | None:
    """The same sentence where half of the blocks are strange, of which a few are looked at.

    With the device's turn. Raises BlockNotFoundError, StoreError.
    """
    if family.recommended.knows is None or not block_ids:
        return None
    some = block_ids[:: -(-len(block_ids) // _LOOKED_AT)]
    pictures = zip(some, memory.thumbnails(some), strict=True)
    told = _are_strange(memory, family, {number: one for number, one in pictures if one})
    return _reason(family) if _are_most(told) else None


def strange_block(
    memory: MemoryReader, family: Family, block_id: int, picture: bytes
) -> str | None:
    """The same sentence where this one is strange. With the device's turn."""
    if family.recommended.knows is None or not picture:
        return None
    return _reason(family) if _are_strange(memory, family, {block_id: picture})[block_id] else None


def _are_strange(
    memory: MemoryReader, family: Family, pictures: Mapping[int, bytes]
) -> dict[int, bool]:
    told = {number: memory.facts.get(number, _FACT) for number in pictures}
    new = [number for number, known in told.items() if known is None]
    if new:
        found = family.are_strange([pictures[number] for number in new])
        for number, is_strange in zip(new, found, strict=True):
            memory.facts.put(number, _FACT, float(is_strange))
            told[number] = float(is_strange)
    return {number: bool(known) for number, known in told.items()}


def _are_most(told: Mapping[int, bool]) -> bool:
    return bool(told) and 2 * sum(told.values()) >= len(told)


def _reason(family: Family) -> str:
    return f"This model knows {family.recommended.knows}; this picture is none of its world."


def with_warning(text: str, reason: str) -> str:
    """What is said of a strange picture, and that it means nothing."""
    said = text.rstrip()
    if said and said[-1] not in ".!?":
        said = f"{text}."
    return f"{said} {reason}".lstrip()
