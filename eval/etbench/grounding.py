"""Reads what an official question wants found, and phrases spans the way it wants them.

In tvg, epm, tal and vhd that is the quoted text. evs wants a summary, tem something similar to a
stretch of the video and gvq an answer as well: no statement expresses those.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from eval.etbench.sample import Sample, Task
from eval.play.plays import Sought
from vstream import FoundSpan

_QUOTED = re.compile(r"(?<!\w)'(.+)'\W*The format of your response should be", re.DOTALL)
"""From the first quotation mark on: the quoted text may have apostrophes."""


def sought_in(sample: Sample) -> Sought | None:
    """Return what to find; None: the model has to answer from what it sees."""
    quoted = _QUOTED.search(sample.q)
    if sample.task not in _ANSWERS or quoted is None:
        return None
    return Sought(quoted[1], _ANSWERS[sample.task])


def _one_event(spans: Sequence[FoundSpan]) -> str:
    return f"The event happens in {_times(_best(spans))}"


def _all_moments(spans: Sequence[FoundSpan]) -> str:
    return ", ".join(map(_times, spans))


def _highlight(spans: Sequence[FoundSpan]) -> str:
    return f"The highlight moment happens at {_best(spans).at_s:.1f}"


_ANSWERS: Mapping[Task, Callable[[Sequence[FoundSpan]], str]] = {
    "tvg": _one_event,
    "epm": _one_event,
    "tal": _all_moments,
    "vhd": _highlight,
}
"""Functions with names: questions go to worker processes, and lambdas cannot be pickled."""


def _best(spans: Sequence[FoundSpan]) -> FoundSpan:
    """Return the most probable span; the longest of those equal to six digits."""
    return max(spans, key=lambda span: (round(span.probability, 6), span.to_s - span.from_s))


def _times(span: FoundSpan) -> str:
    return f"{span.from_s:.1f} - {span.to_s:.1f}"
