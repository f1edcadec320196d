"""show: pushes the pictures and clips of a request into a session of their own.

A picture is a block by itself: if a block has several frames, all of them show it. A clip is
sampled like a file. They follow one another at the model's rate.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from tempfile import NamedTemporaryFile

from av import VideoFrame

from encoders import Frame, FrameSampler
from encoders.families.text import Text
from vstream.device.asker import Asker
from vstream.errors import QuestionError, SourceError
from vstream.session import Session
from vstream.sources.address import SourceAddress, SourceKind
from vstream.sources.config import SourceConfig
from vstream.sources.frame_source import FrameSource
from vstream.sources.rgb_scaler import RgbScaler
from vstream.sources.source_process import clip_apart
from vstream.sources.still_picture import StillPicture

_FORMATS = ("JPEG", "PNG", "WEBP")
_LOOK_S = 0.2


@dataclass(frozen=True)
class ShownMedia:
    """A picture, or a clip as a video file. `name` is for messages."""

    name: str
    data: bytes
    is_clip: bool = False


def show(
    session: Session,
    shown: Sequence[ShownMedia],
    config: SourceConfig,
    max_pixels: int,
    within_s: float,
    asker: Asker,
) -> None:
    """Push everything in `shown`, or a blank frame if it is empty. A picture has at most
    `max_pixels`, a clip as many as any source; clips are read for at most `within_s`.

    Raises SourceError (FRAME_INVALID, FILE_..., SOURCE_TOO_LARGE, STREAM_TIMEOUT), QuestionError
    for a model that sees no pictures, CancelledError if the asker leaves.
    """
    family, fps = session.model.family, session.model.sample_fps
    if isinstance(family, Text):
        raise QuestionError("this model reads text and sees no pictures: ask a stream of text")
    size, until = family.frames_per_block, time.monotonic() + within_s

    def pushed() -> Iterator[Frame]:
        begin_s = 0.0
        for one in shown:
            found = (
                _clip(one, config, fps, until, asker)
                if one.is_clip
                else _picture(one, config.max_side, max_pixels)
            )
            number = 0
            for frame in found:
                last = replace(frame, stream_s=begin_s + frame.stream_s)
                number += 1
                yield last
            yield from [last] * (-number % size)  # else its last frames would wait for more
            begin_s = last.stream_s + size / fps

    frames = pushed() if shown else (family.blank(0.0) for _ in range(size))
    while together := list(islice(frames, session.chunk_blocks * size)):
        if asker.has_left:
            raise CancelledError
        session.push(together)


def _picture(one: ShownMedia, max_side: int | None, max_pixels: int) -> Iterator[Frame]:
    picture = StillPicture(
        one.data,
        one.name,
        max_pixels,
        formats=_FORMATS,
        max_bytes=len(one.data),  # bounded on arrival
        bound="service.request_pixels",
    )
    upright = VideoFrame.from_ndarray(picture.pixels(max_side), format="rgb24")
    yield Frame(RgbScaler(max_side).pixels(upright), 0.0, time.time())


def _clip(
    one: ShownMedia, config: SourceConfig, fps: float, until: float, asker: Asker
) -> Iterator[Frame]:
    """Read a clip like a file that is read as fast as it can be encoded."""
    sampler = FrameSampler(fps, config.dedup_threshold, config.max_gap_s)
    with NamedTemporaryFile(prefix="vstream-clip-") as file:
        file.write(one.data)
        file.flush()
        address = SourceAddress(SourceKind.FILE, one.name, file.name)
        config = config.model_copy(update={"confined": True})
        source = clip_apart(address, config, sampler.wants)
    with source, _closed_in_time(source, until, asker):
        for frame in source:
            if sampler.keep(frame):
                yield frame
    if asker.has_left:
        raise CancelledError
    if time.monotonic() > until:
        raise SourceError(
            f"{one.name}: reading: it took too long; send a shorter one, name it as a stream, or "
            "raise service.request_fetch_s",
            "STREAM_TIMEOUT",
        )


@contextmanager
def _closed_in_time(source: FrameSource, until: float, asker: Asker) -> Iterator[None]:
    """Meanwhile, close the source once its time is up or nobody waits for it."""
    is_read = threading.Event()

    def watch() -> None:
        while not is_read.wait(_LOOK_S):
            if asker.has_left or time.monotonic() > until:
                source.close()
                return

    watching = threading.Thread(target=watch, name="clip", daemon=True)
    watching.start()
    try:
        yield
    finally:
        is_read.set()
        watching.join()
