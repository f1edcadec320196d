"""/v1/streams/ID/timeline: a stream in, its whole history in a few parts out, to be drawn."""

from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.server.access import CallerHere, ServiceHere, require
from app.server.keys import Action
from app.server.stream_url import TimeRange
from app.server.time_range import stream_range_of
from memory import MemoryReader

_SHORTEST_S = 1.0
router = APIRouter(prefix="/v1/streams", tags=["streams"])


class TimelinePart(BaseModel):
    """A stretch of stream time. `change` is how unlike the picture before the most unlike one is:
    1 less the cosine of their representative keys, averaged over the layers.
    """

    from_s: float
    to_s: float
    captured_at: float
    blocks: int
    change: float
    change_s: float


class Timeline(BaseModel):
    """`parts` are of equal length, at least a second; where nothing is kept there are none.

    `from_s` and `to_s` bound what is kept of the stretch that was asked for, `kept_from_s` and
    `kept_to_s` all that is kept. Of nothing all are 0.
    """

    object: Literal["timeline"] = "timeline"
    stream_id: str
    from_s: float
    to_s: float
    part_s: float
    parts: list[TimelinePart]
    kept_from_s: float = 0.0
    kept_to_s: float = 0.0


@router.get("/{stream_id}/timeline")
def timeline(
    service: ServiceHere,
    caller: CallerHere,
    stream_id: str,
    span: Annotated[TimeRange, Query()],
    parts: Annotated[int, Query(ge=1, le=1000)] = 120,
) -> Timeline:
    """What is kept of a stream's history, and where its picture changed."""
    require(caller, Action.READ, stream_id)
    from_s, to_s = stream_range_of(service, stream_id, span)
    with service.live.streams.asked(stream_id) as asked, service.live.model.turn:
        asked.memory.refresh()
        ids = asked.memory.visible(to_s, from_s)
        return _timeline(stream_id, asked.memory, ids, parts)


def _timeline(stream_id: str, memory: MemoryReader, ids: list[int], parts: int) -> Timeline:
    kept_from_s = memory.info(memory.first_block).start_s if memory.num_readable else 0.0
    whole: dict[str, Any] = {
        "stream_id": stream_id,
        "kept_from_s": kept_from_s,
        "kept_to_s": memory.newest_s,
    }
    if not ids:
        return Timeline(from_s=0, to_s=0, part_s=0, parts=[], **whole)
    infos = [memory.info(block_id) for block_id in ids]
    first_s, last_s = infos[0].start_s, infos[-1].end_s
    part_s = max((last_s - first_s) / parts, _SHORTEST_S)
    found: dict[int, TimelinePart] = {}
    for info, change in zip(infos, _changes(memory, ids), strict=True):
        number = min(parts - 1, int((info.end_s - first_s) / part_s))
        part = found.get(number)
        if part is None:
            begin_s = first_s + number * part_s
            part = found[number] = TimelinePart(
                from_s=begin_s,
                to_s=begin_s + part_s,
                captured_at=info.captured_at,
                blocks=0,
                change=0.0,
                change_s=info.end_s,
            )
        part.blocks += 1
        if change > part.change:
            part.change, part.change_s = change, info.end_s
    in_order = [found[number] for number in sorted(found)]
    return Timeline(from_s=first_s, to_s=last_s, part_s=part_s, parts=in_order, **whole)


def _changes(memory: MemoryReader, ids: list[int]) -> list[float]:
    """Of each block against the one before; 0 for the first."""
    keys = memory.representative_keys(ids)
    unit = torch.nn.functional.normalize(keys, dim=-1)
    cosines = (unit[:, 1:] * unit[:, :-1]).sum(dim=-1).mean(dim=0)
    return [0.0, *(1 - cosines).clamp(0, 1).tolist()]
