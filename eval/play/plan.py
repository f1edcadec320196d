"""plan: questions in, what is played out: a video from a moment on, and when it is asked about.

Questions that may see a video from the same moment on are asked of one session, whose memory is
kept from one to the next. A session never holds a frame from before that moment: even the blocks
of what may be seen would know of it, because they were encoded with it in view.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eval.play.asked import Asked, Standing
from eval.play.footage import Footage


@dataclass(frozen=True, order=True)
class AskTime:
    """A question, by its number in the play, is put when the stream is at `at_s`."""

    at_s: float
    number: int


@dataclass(frozen=True)
class Play:
    """A video from `from_s` on and all that is asked about it, under one system prompt.

    `standing` questions are watched under the contender that is called `default`.
    """

    video: Path | Footage
    from_s: float
    system: str
    asked: tuple[Asked, ...]
    standing: tuple[Standing, ...] = ()

    @cached_property
    def times(self) -> tuple[AskTime, ...]:
        """In order of time; at the same time in the order of the benchmark."""
        numbered = enumerate(self.asked)
        return tuple(sorted(AskTime(span.end_s, n) for n, one in numbered for span in one.spans))


def plan(asked: Iterable[Asked]) -> list[Play]:
    """In the order in which the benchmark comes upon them."""
    found: dict[tuple[Path | Footage, float, str], list[Asked]] = {}
    for one in asked:
        key = (one.video, one.spans[0].start_s, one.prompt.system)
        found.setdefault(key, []).append(one)
    return [Play(*key, tuple(several)) for key, several in found.items()]
