"""VideoTrack: searches and decodes the video of an open container, and counts damage.

FFmpeg's decoders are told how many pixels a picture may have, also those that probe a container
while it is opened, and refuse larger ones. One exception: streams that a container shows only as it
is read (FLV, and so RTMP) are probed without the bound, one picture of each.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from av import Packet, VideoFrame
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, OverflowError

from vstream.errors import SourceError
from vstream.sources.errors import too_large, unsupported_codec
from vstream.sources.status import SourceCounts

_MARGIN = 128
"""Decoders lengthen the sides of a picture by less than this, and count that as well."""


def pixel_options(max_pixels: int) -> dict[str, str]:
    """Return options for `av.open`, and for a decoder."""
    return {"max_pixels": str(max_pixels)}


class VideoTrack:
    """The first video stream of a container. Methods that yield pictures raise SourceError for
    those that are too large; damaged ones are only counted.
    """

    def __init__(
        self,
        container: InputContainer,
        name: str,
        max_pixels: int,
        no_video_code: str,
        counts: SourceCounts | None = None,
    ) -> None:
        """`name` is the source's. Raises SourceError if there is no video or no decoder for it, or
        if its pictures are too large.
        """
        self.name = name
        self.max_pixels = max_pixels
        self.counts = counts or SourceCounts()
        self._container = container
        if not container.streams.video:
            others = ", ".join(sorted({track.type for track in container.streams})) or "nothing"
            raise SourceError(
                f"{name}: opening: there is no video in it, only {others}; give a source with a "
                "video track",
                no_video_code,
            )
        self.stream = container.streams.video[0]
        decoder = self.stream.codec_context
        if decoder is None:
            raise unsupported_codec(name)
        if decoder.width * decoder.height > max_pixels:
            raise too_large(name, max_pixels)
        decoder.options = decoder.options | pixel_options(max_pixels)

    def decoded(self, packet: "Packet[Any]") -> Iterator[VideoFrame]:
        """Yield the pictures that come out of one packet: none or several."""
        return self._counted(packet.decode)

    def drained(self) -> Iterator[VideoFrame]:
        """Yield those the decoder still holds. It takes no more packets until it is flushed."""
        return self._counted(self.stream.decode)

    def pictures(self) -> Iterator[VideoFrame]:
        """Yield all from where the container stands. Raises FFmpegError where it breaks off."""
        for packet in self._container.demux(self.stream):
            yield from self.decoded(packet)

    def pictures_from(self, pts: int) -> Iterator[VideoFrame]:
        """Return all from a key frame at or before `pts` on, in the track's own time base."""
        assert self.stream.time_base is not None
        one_second = int(1 / self.stream.time_base)
        back = 0
        while True:  # further back each time: containers without an index (MPEG-TS) land anywhere
            self._container.seek(pts - back, stream=self.stream)
            found = self.pictures()
            first = next(found, None)
            if first is not None and (first.pts is None or first.pts <= pts):
                return chain([first], found)
            if pts - back <= (self.stream.start_time or 0):
                return found if first is None else chain([first], found)
            back = 2 * back + one_second

    def _counted(self, decode: Callable[[], list[Any]]) -> Iterator[VideoFrame]:
        try:
            pictures, failure = decode(), None
        except FFmpegError as error:  # one bad packet; the decoder goes on at the next
            pictures, failure = [], error
        if failure is not None:
            self.counts.frames_corrupt += 1
            if self._is_too_large(failure):
                raise too_large(self.name, self.max_pixels)
        for picture in pictures:
            if picture.is_corrupt:
                self.counts.frames_corrupt += 1
            else:
                self.counts.frames_received += 1
                yield picture

    def _is_too_large(self, failure: FFmpegError) -> bool:
        """Whether the decoder failed over size: it keeps the size that it found, or has none."""
        width, height = self.stream.codec_context.width, self.stream.codec_context.height
        if not width:
            return isinstance(failure, ArgumentError | OverflowError)
        return (width + _MARGIN) * (height + _MARGIN) > self.max_pixels
