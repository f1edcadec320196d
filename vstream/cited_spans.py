"""cited_spans: turns the attention that an answer paid to each block into the spans it looked at.

A block counts if it got at least `NOTICED` of what the best one got. Blocks that are neighbours in
the stream form one span: no block lies between them, and no time about which nothing is known, as
in `vstream.search.stretch_blocks`.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace

from memory import MemoryReader
from memory.memory_reader import REACH_S
from vstream.question import CitedSpan

NOTICED = 0.3
LEAST = 0.05
"""Spans with a smaller share are dropped."""


def cited_spans(
    memory: MemoryReader, shares: Mapping[int, float], until_s: float
) -> tuple[CitedSpan, ...]:
    """Return the spans of an answer that saw up to `until_s`; skips blocks that are forgotten."""
    ids, least = memory.seen(until_s), NOTICED * max(shares.values(), default=0.0)
    found: list[CitedSpan] = []
    last = -1
    for block_id in sorted(i for i, share in shares.items() if share >= least > 0):
        place = bisect_left(ids, block_id)
        if place == len(ids) or ids[place] != block_id:
            continue
        info = memory.info(block_id)
        after = memory.info(ids[place + 1]).start_s if place + 1 < len(ids) else info.end_s
        to_s = min(after, info.end_s + REACH_S)
        clock = info.captured_at - info.end_s
        span = CitedSpan(info.start_s, to_s, info.start_s + clock, to_s + clock, shares[block_id])
        if found and place == last + 1 and info.start_s <= found[-1].to_s:
            before = found.pop()
            span = replace(before, to_s=to_s, to_at=span.to_at, share=before.share + span.share)
        found.append(span)
        last = place
    return tuple(span for span in found if span.share >= LEAST)
