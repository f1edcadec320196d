"""FrameSource: anything that delivers frames; `open_source` finds the right one for an address."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, Self

from encoders import Frame
from vstream.sources.address import SourceKind, parse_address
from vstream.sources.config import SourceConfig, Speed
from vstream.sources.file_stream import FileStream
from vstream.sources.live_stream import LiveStream
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.status import SourceStatus


class FrameSource(Protocol):
    """Frames in the order of their capture. Iterate from one thread, close from any."""

    is_live: bool
    """Whether frames come at the world's pace: a slow reader misses some, which are counted."""
    name: str
    """The address without its secrets, safe for logs and messages."""

    @property
    def status(self) -> SourceStatus:
        """State, counts and last error at this moment."""

    @property
    def has_waiting(self) -> bool:
        """Whether the next frame can be had without waiting for the world; always so for a file."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the file ends or `close`. Raises SourceError if it fails for good."""

    def close(self) -> None:
        """Stop, and release threads, files and connections."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...


def open_source(
    url: str,
    config: SourceConfig,
    *,
    start_s: float = 0.0,
    wants: Callable[[float], bool] = lambda stream_s: True,
    speed: Speed = "max",
    loop: bool = False,
    keep_trying: bool = False,
    permit: Callable[[str], None] | None = None,
    sample_fps: float | None = None,
    mask: PrivacyMask | None = None,
) -> FrameSource:
    """Open a file (path, file://, http(s)://....mp4), a stream (rtsp(s)://, http(s)://) or a webcam
    (webcam:0, /dev/video0).

    `start_s` resumes: a file is read from there, a live stream counts on from there. `wants` is
    asked once per decoded frame, in order, with its stream time; only wanted frames are converted
    to RGB and delivered. `sample_fps` is the most of them per second, so that a live source decodes
    no more than that needs. `mask` blackens parts of every frame. A file is read without loss, or
    plays at `speed` times its own, like a camera; with `loop` it starts over when it ends.
    `keep_trying` is for daemons: a live source that has never been seen is then not given up.
    `permit` (`SourcePolicy.check`) is called with `url` now and before each later connection, and
    refuses it with a SourceError.

    Raises SourceError (SOURCE_..., FILE_...) at once for an address or file that cannot be read;
    iterating raises it (STREAM_...) for a live source that is given up.
    """
    permit = permit or (lambda url: None)
    permit(url)
    address = parse_address(url)
    if address.kind is not SourceKind.FILE:
        return LiveStream(
            address,
            config,
            start_s=start_s,
            wants=wants,
            keep_trying=keep_trying,
            permit=partial(permit, url),
            sample_fps=sample_fps,
            mask=mask,
        )
    return FileStream(
        address, config, start_s=start_s, wants=wants, speed=speed, mask=mask, loop=loop
    )
