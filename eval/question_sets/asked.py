"""asked_of: a question set and its items in, what a run asks and when out; and how a run is made.

Where a set or those who published its questions say how often frames are taken, a run does the
same; elsewhere each model has its own rate.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from eval.play.asked import Asked
from eval.play.options import Convention
from eval.question_sets.benchmark import Benchmark, Item

_SHORT = Convention(max_tokens=128)
"""A letter, a word or a number is asked for."""
_CONVENTIONS = {
    # Flash-VStream's inference: every second, at most 1024 tokens.
    "vs-ego": Convention(max_tokens=1024, sample_fps=1.0),
    "vs-movie": Convention(max_tokens=1024, sample_fps=1.0),
    # ReKV's, whose files these are: every other second, at most 256 tokens.
    "rvs-ego": Convention(max_tokens=256, sample_fps=0.5),
    "rvs-movie": Convention(max_tokens=256, sample_fps=0.5),
}


def convention_of(name: str) -> Convention:
    return _CONVENTIONS.get(name, _SHORT)


def asked_of(benchmark: Benchmark, items: Sequence[Item], data_dir: Path) -> list[Asked]:
    """In the order of the items."""
    return [
        Asked(
            item.id,
            data_dir / item.video,
            item.spans,
            benchmark.prompt(item),
            partial(benchmark.follow_up, item),
        )
        for item in items
    ]
