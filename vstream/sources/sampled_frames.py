"""frames: the address of a video in, some of its frames out, without a model."""

import os
from collections.abc import Iterator

from encoders import Frame, FrameSampler
from vstream.sources.address import SourceKind, parse_address
from vstream.sources.config import SourceConfig
from vstream.sources.frame_source import open_source
from vstream.sources.live_decoder import EARLY


def frames(
    source: str | os.PathLike[str], fps: float = 1.0, config: SourceConfig | None = None
) -> Iterator[Frame]:
    """Yield at most `fps` frames per second of a file, stream or webcam, each with its stream time
    and its time of capture. They are those that a session at that rate would look at, duplicates
    included. None of a file is lost; of a live source a slow reader gets the newest.

    Opens the source as the first frame is asked for. Raises SourceError as `open_source`.
    """
    url = os.fspath(source)
    early = 0.0 if parse_address(url).kind is SourceKind.FILE else EARLY
    sampler = FrameSampler(fps, early=early)
    opened = open_source(url, config or SourceConfig(), wants=sampler.wants, sample_fps=fps)
    with opened:
        yield from opened
