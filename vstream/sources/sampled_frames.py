"""frames: sample the frames of a video, without a model."""

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
    """Yield at most `fps` frames per second of a file, stream or webcam, with their stream and
    capture times. These are the frames that a session at that rate would look at, duplicates
    included. A file loses none; a slow reader of a live source gets the newest.

    Opens the source when the first frame is asked for. Raises SourceError as `open_source` does.
    """
    url = os.fspath(source)
    early = 0.0 if parse_address(url).kind is SourceKind.FILE else EARLY
    sampler = FrameSampler(fps, early=early)
    opened = open_source(url, config or SourceConfig(), wants=sampler.wants, sample_fps=fps)
    with opened:
        yield from opened
