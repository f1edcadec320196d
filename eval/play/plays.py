"""VideoQuestion: one question of any benchmark as a run needs it; Play: all about one video.

A benchmark makes these of its items; the player returns the texts that a model said, in order. The
true answers are not included; where the evidence is, is included, to measure memories.

Questions that may see a video from the same moment on share one play of one session and its memory.
A session never holds a frame from before that moment: even later blocks would know of it, because
it was in view when they were encoded.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from encoders import Frame
from vstream import FoundSpan
from vstream.ingest import OpenSource
from vstream.sources import VideoFile
from vstream.sources.config import SourceConfig


class Pictures(Protocol):
    @property
    def duration_s(self) -> float: ...

    def frames_at(self, seconds: Sequence[float]) -> list[Frame]:
        """Return the frames on screen at these moments; one due within a millisecond counts."""
        ...


class Footage(Pictures, Protocol):
    """Plain data that can be sent to another process; `open` is what IngestWorker takes."""

    @property
    def name(self) -> str: ...

    @property
    def open(self) -> OpenSource: ...


def source_of(video: Path | Footage) -> str | OpenSource:
    return str(video) if isinstance(video, Path) else video.open


def pictures_of(video: Path | Footage, config: SourceConfig) -> AbstractContextManager[Pictures]:
    """Give random access to it while the context lasts. Raises SourceError (FILE_...)."""
    return VideoFile(str(video), config) if isinstance(video, Path) else nullcontext(video)


@dataclass(frozen=True)
class TimeSpan:
    """Stream seconds, both ends included."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Prompt:
    """Text as published. The model's answer begins with `answer_start`, which is given to it."""

    text: str
    system: str = ""
    answer_start: str = ""


@dataclass(frozen=True)
class Sought:
    """What `find` should find; `answer` phrases its spans, at least one, as the benchmark does."""

    statement: str
    answer: Callable[[Sequence[FoundSpan]], str]


def nothing_more(text: str | None) -> Prompt | None:
    return None


@dataclass(frozen=True)
class VideoQuestion:
    """One question, put at the end of each of its `spans`, in order of time.

    `follow_up` gets each answer; if it returns a prompt, that is put at once, and is the last. A
    span may end at math.inf: with the video. `evidence` are the stretches that show the answer, if
    known.
    """

    id: str
    video: Path | Footage
    spans: tuple[TimeSpan, ...]
    prompt: Prompt
    follow_up: Callable[[str | None], Prompt | None] = nothing_more
    evidence: tuple[TimeSpan, ...] = ()
    sought: Sought | None = None


@dataclass(frozen=True)
class Standing:
    """A standing question, judged at every frame from `from_s` on and before `until_s`."""

    id: str
    text: str
    from_s: float
    until_s: float


@dataclass(frozen=True, order=True)
class AskTime:
    """A question, by its number in the play, is put when the stream is at `at_s`."""

    at_s: float
    number: int


@dataclass(frozen=True)
class Play:
    """A video from `from_s` on and everything asked about it, under one system prompt. `standing`
    questions are watched under the contender called `default`.
    """

    video: Path | Footage
    from_s: float
    system: str
    asked: tuple[VideoQuestion, ...]
    standing: tuple[Standing, ...] = ()

    @cached_property
    def times(self) -> tuple[AskTime, ...]:
        """In order of time, then in the benchmark's order."""
        numbered = enumerate(self.asked)
        return tuple(sorted(AskTime(span.end_s, n) for n, one in numbered for span in one.spans))


def plan(asked: Iterable[VideoQuestion]) -> list[Play]:
    """Group questions into plays, in the benchmark's order."""
    found: dict[tuple[Path | Footage, float, str], list[VideoQuestion]] = {}
    for one in asked:
        key = (one.video, one.spans[0].start_s, one.prompt.system)
        found.setdefault(key, []).append(one)
    return [Play(*key, tuple(several)) for key, several in found.items()]
