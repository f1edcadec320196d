"""LiveDecoder: decodes from a live stream's packets only the pictures that sampling needs.

Key frames can be decoded alone. If they come at least as often as frames are sampled, nothing else
is decoded, which costs a tenth. Every key frame is drained from the decoder at once, so that none
waits for later frames. Packets passed over are kept until the next key frame: if that is late, the
decoder catches up from the last one and decodes everything again, and no sample is lost.
"""

import math
from collections.abc import Iterator
from typing import Any

from av import Packet, VideoFrame

from vstream.sources.config import Decode
from vstream.sources.video_track import VideoTrack

EARLY = 0.05
"""The part of a sampling tick by which key frames may jitter and still serve every tick."""
_MOST_PASSED_OVER = 1024  # packets; key frames further apart than this never suffice


class LiveDecoder:
    """Decodes one connection's video. The track's counts include every packet passed over."""

    def __init__(self, track: VideoTrack, decode: Decode, sample_fps: float | None) -> None:
        """`sample_fps` is the rate that `decode="auto"` must serve; None needs every frame."""
        self.is_resting = False
        """Whether the last packet was passed over on purpose, after a good key frame."""
        self._track = track
        self._trusting = decode == "keyframes"
        self._longest_s = 0.0 if decode == "all" or sample_fps is None else (1 + EARLY) / sample_fps
        self._num_needed = 2  # intervals that must be short enough in a row
        self._intervals_s: list[float] = []
        self._key_frame: Packet[Any] | None = None
        self._key_frame_good = False
        self._keys_only = self._trusting
        self._passed_over: list[Packet[Any]] = []

    def pictures(self, packet: "Packet[Any]") -> Iterator[VideoFrame]:
        """Yield the pictures that come out now, in order. Raises SourceError for too large ones."""
        self.is_resting = False
        if packet.is_keyframe and packet.size:
            self._count_passed_over()
            self._measure(packet)
            if self._suffices():
                yield from self._alone(packet)
                return
            self._keys_only = False
        if not self._keys_only:
            yield from self._track.decoded(packet)
        elif packet.size:
            yield from self._pass_over(packet)

    def _measure(self, packet: "Packet[Any]") -> None:
        interval_s = _seconds_between(self._key_frame, packet)
        self._key_frame = packet
        if 0 < interval_s < math.inf:
            self._intervals_s = [*self._intervals_s, interval_s][-self._num_needed :]
        else:
            self._intervals_s = []

    def _suffices(self) -> bool:
        if self._trusting:
            return True
        intervals_s = self._intervals_s
        return len(intervals_s) == self._num_needed and max(intervals_s) <= self._longest_s

    def _alone(self, packet: "Packet[Any]") -> Iterator[VideoFrame]:
        if not self._keys_only:
            yield from self._drain(packet)  # earlier pictures, which wait to be put in order
            self._keys_only = True
        pictures = [*self._track.decoded(packet), *self._drain(packet)]
        self._key_frame_good = bool(pictures)
        if not pictures and not self._trusting:  # it does not stand alone, or was damaged
            self._decode_all()
            self._num_needed *= 2
        yield from pictures

    def _pass_over(self, packet: "Packet[Any]") -> Iterator[VideoFrame]:
        self._passed_over.append(packet)
        if self._trusting:
            self._count_passed_over()
        elif (
            _seconds_between(self._key_frame, packet) > self._longest_s
            or len(self._passed_over) > _MOST_PASSED_OVER
        ):
            yield from self._catch_up()
            return
        self.is_resting = self._key_frame_good

    def _catch_up(self) -> Iterator[VideoFrame]:
        assert self._key_frame is not None
        packets = [self._key_frame, *self._passed_over]
        self._passed_over = []
        self._decode_all()
        given = self._key_frame.pts
        for packet in packets:
            for picture in self._track.decoded(packet):
                if picture.pts is None or given is None or picture.pts > given:
                    yield picture

    def _decode_all(self) -> None:
        self._keys_only = False
        self._intervals_s = []

    def _drain(self, packet: "Packet[Any]") -> Iterator[VideoFrame]:
        for picture in self._track.drained():
            picture.time_base = packet.time_base  # PyAV gives drained pictures none
            yield picture
        self._track.stream.codec_context.flush_buffers()

    def _count_passed_over(self) -> None:
        self._track.counts.frames_skipped += len(self._passed_over)
        self._passed_over = []


def _seconds_between(earlier: "Packet[Any] | None", later: "Packet[Any]") -> float:
    """Return infinity if the packets have no times."""
    if earlier is None or earlier.pts is None or later.pts is None:
        return math.inf
    return float((later.pts - earlier.pts) * later.time_base)
