"""Asked: one question of any benchmark as a run needs it: the video, when, what may be seen, words.

A benchmark makes these of its items; the player gives back what a model said, the texts in the
order in which they were said. True answers are not in here; where the evidence lies is, for what
is measured of memories.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.play.footage import Footage


@dataclass(frozen=True)
class TimeSpan:
    """Stream seconds, both ends included."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Prompt:
    """Text as published. The model's answer begins with `answer_start`, which is not its own."""

    text: str
    system: str = ""
    answer_start: str = ""


def nothing_more(text: str | None) -> Prompt | None:
    """The question is put once."""
    return None


@dataclass(frozen=True)
class Asked:
    """One question, put at the end of each of its `spans`, in order of time.

    `follow_up` is told what was said each time; the prompt that it returns is put at once, and is
    the last. A span may end at math.inf: with the video. `evidence` are the stretches that show
    the answer, where the benchmark knows them.
    """

    id: str
    video: Path | Footage
    spans: tuple[TimeSpan, ...]
    prompt: Prompt
    follow_up: Callable[[str | None], Prompt | None] = nothing_more
    evidence: tuple[TimeSpan, ...] = ()


@dataclass(frozen=True)
class Standing:
    """A standing question, judged at every frame from `from_s` on and before `until_s`."""

    id: str
    text: str
    from_s: float
    until_s: float
