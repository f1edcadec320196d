"""Read out of an official question what it wants found, and say spans as it wants them told.

Of tvg, epm, tal and vhd that is what stands in quotation marks. What evs wants is a summary, tem
something like a stretch of the video and gvq an answer as well: no statement says that.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from eval.etbench.sample import Sample, Task
from eval.play.asked import Sought
from vstream import FoundSpan

_QUOTED = re.compile(r"(?<!\w)'(.+)'\W*The format of your response should be", re.DOTALL)
"""From the first quotation mark on: there may be apostrophes in what is quoted."""


def sought_in(sample: Sample) -> Sought | None:
    """None: the model is to say it, from what it sees."""
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
    """Where it is most probable; the longest of those that are equally so, to six digits."""
    return max(spans, key=lambda span: (round(span.probability, 6), span.to_s - span.from_s))


def _times(span: FoundSpan) -> str:
    return f"{span.from_s:.1f} - {span.to_s:.1f}"
