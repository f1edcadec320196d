"""/v1/streams/ID/timeline: a stream's whole history in a few parts, for drawing."""

from bisect import bisect_right
from functools import partial
from typing import Annotated

import torch
from fastapi import APIRouter, Query

from app.server.documents import Timeline, TimelinePart
from app.server.looking import Looker, LookerHere
from app.server.time_range import TimeRange
from memory import MemoryReader

MOST_COMPARED = 4096
"""At a block per second, an hour has all its blocks compared, a day (86,400) about every 32nd."""
_SHORTEST_S = 1.0
router = APIRouter(prefix="/v1/streams", tags=["streams"])


@router.get("/{stream_id}/timeline")
async def timeline(
    looker: LookerHere,
    span: Annotated[TimeRange, Query()],
    parts: Annotated[int, Query(ge=1, le=1000)] = 120,
) -> Timeline:
    """Return what is kept of a stream's history, and where its picture changed."""
    return await looker.look(partial(_timeline, looker, span, parts))


def _timeline(looker: Looker, span: TimeRange, parts: int) -> Timeline:
    loaded, stream_id = looker.service.loaded, looker.stream_id
    from_s, to_s = loaded.stream_range(stream_id, span)
    with loaded.streams.askable(stream_id) as stream, loaded.model.turn:
        ids = stream.memory.visible(to_s, from_s)
        return timeline_of(stream_id, stream.memory, ids, parts)


def timeline_of(
    stream_id: str, memory: MemoryReader, ids: list[int], parts: int, most: int = MOST_COMPARED
) -> Timeline:
    """Group the blocks `ids` of `memory`, in stream order, into up to `parts` parts.

    The cost does not grow with the memory: a binary search finds the bounds of each part, and about
    `most` blocks are compared, spread evenly over the parts.
    """
    kept_from_s = memory.info(memory.first_block).start_s if memory.num_readable else 0.0
    kept = {"kept_from_s": kept_from_s, "kept_to_s": memory.newest_s}
    if not ids:
        return Timeline(from_s=0, to_s=0, part_s=0, parts=[], stream_id=stream_id, **kept)
    first_s, last_s = memory.info(ids[0]).start_s, memory.info(ids[-1]).end_s
    part_s = max((last_s - first_s) / parts, _SHORTEST_S)

    def number_of(block_id: int) -> int:
        return min(parts - 1, int((memory.info(block_id).end_s - first_s) / part_s))

    found: list[TimelinePart] = []
    compared: list[int] = []
    part_of: list[TimelinePart] = []
    begin = 0
    while begin < len(ids):
        number, info = number_of(ids[begin]), memory.info(ids[begin])
        end = bisect_right(ids, number, lo=begin, key=number_of)
        begin_s = first_s + number * part_s
        part = TimelinePart(
            from_s=begin_s,
            to_s=begin_s + part_s,
            captured_at=info.captured_at,
            blocks=end - begin,
            change=0.0,
            change_s=info.end_s,
        )
        looked_at = _some_of(ids[begin:end], max(1, most // parts), is_newest=end == len(ids))
        compared += looked_at
        part_of += [part] * len(looked_at)
        found.append(part)
        begin = end
    for part, block_id, change in zip(part_of, compared, _changes(memory, compared), strict=True):
        if change > part.change:
            part.change, part.change_s = change, memory.info(block_id).end_s
    whole = {"from_s": first_s, "to_s": last_s, "part_s": part_s, **kept}
    return Timeline(stream_id=stream_id, parts=found, **whole)


def _some_of(ids: list[int], most: int, *, is_newest: bool) -> list[int]:
    """All of them, or every n-th. Chosen by id, so that the next call compares the same ones."""
    if len(ids) <= most:
        return ids
    stride = 2
    while len(ids) > most * stride:
        stride *= 2
    some = [block_id for block_id in ids if block_id % stride == 0]
    if is_newest and some[-1:] != ids[-1:]:
        some.append(ids[-1])
    return some


def _changes(memory: MemoryReader, ids: list[int]) -> list[float]:
    """The change from the block before to each block; 0 for the first."""
    keys = memory.representative_keys(ids)
    unit = torch.nn.functional.normalize(keys, dim=-1)
    cosines = (unit[:, 1:] * unit[:, :-1]).sum(dim=-1).mean(dim=0)
    return [0.0, *(1 - cosines).clamp(0, 1).tolist()]
