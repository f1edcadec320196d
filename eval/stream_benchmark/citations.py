"""Citations: how well what an answer cites meets the evidence.

Answers cite spans, where their words looked, and moments, the blocks most like the question: the
`MOST` best of each count. Over the whole seconds of the stream:

    recall   the share of the evidence's stretches that they show any second of
    iou      intersection over union of their seconds and the evidence's
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from eval.stream_world.history import Period

MOST = 5
SPANS, MOMENTS = "spans", "moments"


@dataclass(frozen=True)
class Citation:
    """As shares of 1."""

    recall: float
    iou: float


def citations_of(said: Mapping[str, Any], evidence: Sequence[Period]) -> dict[str, Citation]:
    """Return the citations of what was said (see `GivenAnswer`) by SPANS and MOMENTS, if known."""
    if not evidence or "cited_s" not in said or not said["seen_s"]:
        return {}
    newest_s = said["newest_frame_s"]
    spans = [
        (ceil(from_s), floor(to_s) + 1 if to_s >= newest_s else max(ceil(from_s) + 1, ceil(to_s)))
        for from_s, to_s, _ in _best(said["cited_s"])
    ]
    moments = [(floor(from_s), floor(to_s) + 1) for from_s, to_s, _ in _best(said["seen_s"])]
    return {SPANS: _met(spans, evidence), MOMENTS: _met(moments, evidence)}


def _best(cited: Iterable[Sequence[float]]) -> list[Sequence[float]]:
    return sorted(cited, key=lambda one: -one[2])[:MOST]


def _met(cited: Iterable[tuple[int, int]], evidence: Sequence[Period]) -> Citation:
    seconds = {second for one in cited for second in range(*one)}
    stretches = [set(range(one.start_s, one.end_s + 1)) for one in evidence]
    true = set[int]().union(*stretches)
    recall = sum(bool(one & seconds) for one in stretches) / len(stretches)
    return Citation(recall, len(true & seconds) / len(true | seconds))
