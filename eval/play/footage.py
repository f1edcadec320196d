"""Footage: what is played to a model: a video file, or pictures drawn as they are taken."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from encoders import Frame
from vstream.ingest import OpenSource
from vstream.sources import VideoFile
from vstream.sources.config import SourceConfig


class Pictures(Protocol):
    """Frames of any moments."""

    @property
    def duration_s(self) -> float: ...

    def frames_at(self, seconds: Sequence[float]) -> list[Frame]:
        """Those on screen at these moments; one that comes within a millisecond counts as there."""
        ...


class Footage(Pictures, Protocol):
    """Plain data, which can be sent to another process; `open` is as IngestWorker takes it."""

    @property
    def name(self) -> str: ...

    @property
    def open(self) -> OpenSource: ...


def source_of(video: Path | Footage) -> str | OpenSource:
    """What an ingest worker reads."""
    return str(video) if isinstance(video, Path) else video.open


def pictures_of(video: Path | Footage, config: SourceConfig) -> AbstractContextManager[Pictures]:
    """Random access to it, for as long as the context lasts. Raises SourceError (FILE_...)."""
    return VideoFile(str(video), config) if isinstance(video, Path) else nullcontext(video)
