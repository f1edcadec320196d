"""probe_source: an address in, what is there and how it sends out, without keeping any of it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from urllib.parse import urlsplit

from av import VideoFrame, VideoStream
from av.container import InputContainer
from av.error import FFmpegError

from vstream.errors import SourceError
from vstream.sources.address import SourceAddress, SourceKind, parse_address
from vstream.sources.config import SourceConfig
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.errors import no_answer, stream_error
from vstream.sources.file_stream import open_video_file
from vstream.sources.frame_source import any_source
from vstream.sources.live_connection import connection_error, open_live, rtsp_transport
from vstream.sources.status import SourceCounts
from vstream.sources.video_track import PixelBound, decoded, video_track

_LOOK_S = 5.0  # for this long at most after the first frame, to find a second key frame
_MOST_PACKETS = 2000  # of a file, which comes faster


@dataclass(frozen=True)
class ProbeReport:
    """What a source turned out to be."""

    name: str
    """The address without its secrets."""
    kind: SourceKind
    transport: str
    """tcp or udp for RTSP, else file, http, https or device."""
    codec: str
    width: int
    height: int
    fps: float | None
    keyframe_interval_s: float | None
    """None if no second key frame came while it was looked at."""
    has_camera_clock: bool
    """Whether the time of capture is known: from RTCP, or from a file's creation_time."""
    first_frame_ms: float
    """From the beginning of the connection to the first decoded picture."""


def probe_source(
    url: str, config: SourceConfig, permit: Callable[[str], None] = any_source
) -> ProbeReport:
    """Connect, decode one picture, watch the key frames for some seconds, and disconnect.

    Takes `connect_timeout_s` at most; with TLS that fails, seconds more. `permit`: see
    `open_source`. Raises SourceError with the codes of `vstream/sources/errors.py` (SOURCE_...,
    FILE_..., STREAM_...).
    """
    permitted = partial(permit, url)
    address = parse_address(url)
    deadline = time.monotonic() + config.connect_timeout_s
    if address.kind is SourceKind.RTSP and config.transport == "auto":
        half_s = config.connect_timeout_s / 2
        with suppress(SourceError):
            return _probe(address, config, 1, deadline - half_s, permitted)
        return _probe(address, config, 2, deadline, permitted)
    return _probe(address, config, 1, deadline, permitted)


def _probe(
    address: SourceAddress,
    config: SourceConfig,
    attempt: int,
    deadline: float,
    permit: Callable[[], None],
) -> ProbeReport:
    permit()
    look = _Look(deadline)
    failure: FFmpegError | None = None
    stage = "connecting"
    try:
        with interruptible(look.is_over), _opened(address, config, attempt) as container:
            stage = "reading"
            code = "FILE_NOT_VIDEO" if address.kind is SourceKind.FILE else "STREAM_NO_VIDEO"
            bound = PixelBound(address.name, config.max_pixels)
            track = video_track(container, bound, code)
            track.codec_context.thread_count = 1
            try:
                look.watch(container, track, bound)
            except FFmpegError as error:
                failure = error
            if look.picture is not None:
                return _report(address, config, attempt, container, look)
    except FFmpegError as error:
        failure = error
    if address.kind is SourceKind.FILE:
        raise SourceError(
            f"{address.name}: decoding: no frame can be read; record or copy it again",
            "FILE_EMPTY" if failure is None else "FILE_CORRUPT",
        )
    if look.is_over():
        raise no_answer(address.name, stage)
    if failure is not None and stage == "connecting":
        raise connection_error(failure, address, config, permit)
    if failure is not None:
        raise stream_error(failure, address.name, stage)
    raise SourceError(
        f"{address.name}: reading: the other side ended the stream; check that the camera is on",
        "STREAM_DISCONNECTED",
    )


class _Look:
    """What is seen of a track until a second key frame or the end of the time given."""

    def __init__(self, deadline: float) -> None:
        self.begun_at = time.monotonic()
        self.picture: VideoFrame | None = None
        self.first_frame_ms = 0.0
        self.key_times_s: list[float] = []
        self.times_s: list[float] = []
        self._deadline = deadline

    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def watch(self, container: InputContainer, track: VideoStream, bound: PixelBound) -> None:
        """Raises FFmpegError where reading breaks off."""
        counts = SourceCounts()
        for packet in islice(container.demux(track), _MOST_PACKETS):
            if packet.pts is not None:
                pts_s = float(packet.pts * packet.time_base)
                self.times_s.append(pts_s)
                if packet.is_keyframe:
                    self.key_times_s.append(pts_s)
            if self.picture is None:
                self._keep(next(decoded(packet, counts, bound), None))
            if self.is_over() or (self.picture is not None and len(self.key_times_s) > 1):
                return

    def _keep(self, picture: VideoFrame | None) -> None:
        if picture is not None:
            now = time.monotonic()
            self.picture, self.first_frame_ms = picture, 1e3 * (now - self.begun_at)
            self._deadline = min(self._deadline, now + _LOOK_S)

    @property
    def fps(self) -> float | None:
        """Frames per second by the packets that came."""
        if len(self.times_s) < 3:
            return None
        passed_s = max(self.times_s) - min(self.times_s)
        return (len(self.times_s) - 1) / passed_s if passed_s > 0 else None


def _opened(address: SourceAddress, config: SourceConfig, attempt: int) -> InputContainer:
    if address.kind is SourceKind.FILE:
        return open_video_file(address, config)
    return open_live(address, config, attempt)


def _report(
    address: SourceAddress,
    config: SourceConfig,
    attempt: int,
    container: InputContainer,
    look: _Look,
) -> ProbeReport:
    track, picture = container.streams.video[0], look.picture
    assert picture is not None
    width, height = picture.width, picture.height
    if picture.rotation % 180:
        width, height = height, width
    if address.kind is SourceKind.FILE:
        rate, has_clock = track.average_rate, "creation_time" in container.metadata
    else:
        rate, has_clock = None, container.start_time_realtime is not None
    keys_s = look.key_times_s
    return ProbeReport(
        name=address.name,
        kind=address.kind,
        transport=_transport(address, config, attempt),
        codec=track.codec_context.name,
        width=width,
        height=height,
        fps=look.fps if rate is None else float(rate),
        keyframe_interval_s=keys_s[1] - keys_s[0] if len(keys_s) > 1 else None,
        has_camera_clock=has_clock,
        first_frame_ms=look.first_frame_ms,
    )


def _transport(address: SourceAddress, config: SourceConfig, attempt: int) -> str:
    if address.kind is SourceKind.RTSP:
        return rtsp_transport(config, attempt)
    if address.kind is SourceKind.WEBCAM:
        return "device"
    return urlsplit(address.target).scheme if "://" in address.target else "file"
