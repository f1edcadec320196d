"""The video track of an open container: found, searched, and decoded with damage counted.

FFmpeg's decoders are told how many pixels a picture may have, also those that look what is there
while a container is opened, and refuse what is larger. One exception: streams that a container
shows only as it is read (FLV, and so RTMP) are probed without the bound, one picture of each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from av import Packet, VideoFrame, VideoStream
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, OverflowError

from vstream.errors import SourceError
from vstream.sources.errors import too_large, unsupported_codec
from vstream.sources.status import SourceCounts

_MARGIN = 128
"""Decoders make the sides of a picture longer by less than this, and count that as well."""


@dataclass(frozen=True)
class PixelBound:
    """How many pixels the pictures of a source may have."""

    source: str
    """Its name, for messages."""
    max_pixels: int

    @property
    def options(self) -> dict[str, str]:
        """For `av.open`, and for a decoder."""
        return {"max_pixels": str(self.max_pixels)}

    def was_met(self, failure: FFmpegError, track: VideoStream) -> bool:
        """Whether a decoder failed for this: it keeps the size that it found, or has none then."""
        width, height = track.codec_context.width, track.codec_context.height
        if not width:
            return isinstance(failure, ArgumentError | OverflowError)
        return (width + _MARGIN) * (height + _MARGIN) > self.max_pixels

    def error(self) -> SourceError:
        return too_large(self.source, self.max_pixels)


def video_track(container: InputContainer, bound: PixelBound, no_video_code: str) -> VideoStream:
    """The track to watch. Raises SourceError if there is none or no decoder for it, or if its
    pictures are too large.
    """
    name = bound.source
    if not container.streams.video:
        others = ", ".join(sorted({track.type for track in container.streams})) or "nothing"
        raise SourceError(
            f"{name}: opening: there is no video in it, only {others}; give a source with a video "
            "track",
            no_video_code,
        )
    track = container.streams.video[0]
    decoder = track.codec_context
    if decoder is None:
        raise unsupported_codec(name)
    if decoder.width * decoder.height > bound.max_pixels:
        raise bound.error()
    decoder.options = decoder.options | bound.options
    return track


def decoded(packet: "Packet[Any]", counts: SourceCounts, bound: PixelBound) -> Iterator[VideoFrame]:
    """The pictures that come out of one packet (none or several); damaged ones are only counted.

    Raises SourceError for pictures that are too large.
    """
    return _counted(packet.decode, packet.stream, counts, bound)


def drained(track: VideoStream, counts: SourceCounts, bound: PixelBound) -> Iterator[VideoFrame]:
    """The pictures that the decoder still holds. It takes no more packets until it is flushed."""
    return _counted(track.decode, track, counts, bound)


def _counted(
    decode: Callable[[], list[Any]], track: VideoStream, counts: SourceCounts, bound: PixelBound
) -> Iterator[VideoFrame]:
    try:
        pictures, failure = decode(), None
    except FFmpegError as error:  # one bad packet; the decoder goes on at the next
        pictures, failure = [], error
    if failure is not None:
        counts.frames_corrupt += 1
        if bound.was_met(failure, track):
            raise bound.error()
    for picture in pictures:
        if picture.is_corrupt:
            counts.frames_corrupt += 1
        else:
            counts.frames_received += 1
            yield picture


def pictures(
    container: InputContainer, track: VideoStream, counts: SourceCounts, bound: PixelBound
) -> Iterator[VideoFrame]:
    """All pictures from where the container stands. Raises FFmpegError where it breaks off, and
    SourceError for pictures that are too large.
    """
    for packet in container.demux(track):
        yield from decoded(packet, counts, bound)


def pictures_from(
    container: InputContainer, track: VideoStream, counts: SourceCounts, bound: PixelBound, pts: int
) -> Iterator[VideoFrame]:
    """All pictures from a key frame at or before `pts` on, in the track's own time base."""
    assert track.time_base is not None
    one_second = int(1 / track.time_base)
    back = 0
    while True:  # further back each time: containers without an index (MPEG-TS) land anywhere
        container.seek(pts - back, stream=track)
        found = pictures(container, track, counts, bound)
        first = next(found, None)
        if first is not None and (first.pts is None or first.pts <= pts):
            return chain([first], found)
        if pts - back <= (track.start_time or 0):
            return found if first is None else chain([first], found)
        back = 2 * back + one_second
