"""The video track of an open container: found, searched, and decoded with damage counted."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from av import Packet, VideoFrame, VideoStream
from av.container import InputContainer
from av.error import FFmpegError

from vstream.errors import SourceError
from vstream.sources.errors import unsupported_codec
from vstream.sources.status import SourceCounts


def video_track(container: InputContainer, name: str, no_video_code: str) -> VideoStream:
    """The track to watch. Raises SourceError if there is none or no decoder for it."""
    if not container.streams.video:
        raise SourceError(
            f"{name}: opening: there is no video in it, only {_other_tracks(container)}; "
            "give a source with a video track",
            no_video_code,
        )
    track = container.streams.video[0]
    if track.codec_context is None:
        raise unsupported_codec(name)
    return track


def decoded(packet: "Packet[Any]", counts: SourceCounts) -> Iterator[VideoFrame]:
    """The pictures that come out of one packet (none or several); damaged ones are only counted."""
    return _counted(packet.decode, counts)


def drained(track: VideoStream, counts: SourceCounts) -> Iterator[VideoFrame]:
    """The pictures that the decoder still holds. It takes no more packets until it is flushed."""
    return _counted(track.decode, counts)


def _counted(decode: Callable[[], list[Any]], counts: SourceCounts) -> Iterator[VideoFrame]:
    try:
        pictures = decode()
    except FFmpegError:  # one bad packet; the decoder goes on at the next
        counts.frames_corrupt += 1
        return
    for picture in pictures:
        if picture.is_corrupt:
            counts.frames_corrupt += 1
        else:
            counts.frames_received += 1
            yield picture


def pictures(
    container: InputContainer, track: VideoStream, counts: SourceCounts
) -> Iterator[VideoFrame]:
    """All pictures from where the container stands. Raises FFmpegError where it breaks off."""
    for packet in container.demux(track):
        yield from decoded(packet, counts)


def pictures_from(
    container: InputContainer, track: VideoStream, pts: int, counts: SourceCounts
) -> Iterator[VideoFrame]:
    """All pictures from a key frame at or before `pts` on, in the track's own time base."""
    assert track.time_base is not None
    one_second = int(1 / track.time_base)
    back = 0
    while True:  # further back each time: containers without an index (MPEG-TS) land anywhere
        container.seek(pts - back, stream=track)
        found = pictures(container, track, counts)
        first = next(found, None)
        if first is not None and (first.pts is None or first.pts <= pts):
            return chain([first], found)
        if pts - back <= (track.start_time or 0):
            return found if first is None else chain([first], found)
        back = 2 * back + one_second


def _other_tracks(container: InputContainer) -> str:
    return ", ".join(sorted({track.type for track in container.streams})) or "nothing"
