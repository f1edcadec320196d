"""probe_source: reports what is at an address and how it sends, and keeps none of it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from urllib.parse import urlsplit

from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError

from vstream.errors import SourceError
from vstream.sources.address import SourceAddress, SourceKind, parse_address
from vstream.sources.config import SourceConfig
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.errors import disconnected, no_answer, stream_error
from vstream.sources.file_stream import open_video_file
from vstream.sources.opening import open_container, rtsp_transport
from vstream.sources.tls import connection_error
from vstream.sources.video_track import VideoTrack

LOOK_S = 5.0  # longest look after the first frame, to find a second key frame
_MOST_PACKETS = 2000  # of a file, which comes faster


@dataclass(frozen=True)
class ProbeReport:
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
    """None if no second key frame came during the look."""
    has_camera_clock: bool
    """Whether capture times are known: from RTCP, or from a file's creation_time."""
    first_frame_ms: float
    """From the start of the connection to the first decoded picture."""


def probe_source(
    url: str, config: SourceConfig, permit: Callable[[str], None] = lambda url: None
) -> ProbeReport:
    """Connect, decode one picture, watch the key frames for some seconds, and disconnect.

    Takes `connect_timeout_s` at most, and some seconds more if TLS fails. `permit`: see
    `open_source`. Raises SourceError with the codes of `vstream/sources/errors.py` (SOURCE_...,
    FILE_..., STREAM_...).
    """
    address, permitted = parse_address(url), partial(permit, url)
    wait_s = config.connect_timeout_s
    deadline = time.monotonic() + wait_s
    if address.kind is SourceKind.RTSP and config.transport == "auto":
        with suppress(SourceError):
            return _Probe(address, config, 1, deadline - wait_s / 2).report(permitted)
        return _Probe(address, config, 2, deadline).report(permitted)
    return _Probe(address, config, 1, deadline).report(permitted)


class _Probe:
    """One connection, watched until a second key frame or the deadline."""

    def __init__(
        self, address: SourceAddress, config: SourceConfig, attempt: int, deadline: float
    ) -> None:
        self._address = address
        self._config = config
        self._attempt = attempt
        self._deadline = deadline
        self._is_file = address.kind is SourceKind.FILE
        self._started_at = time.monotonic()
        self._picture: VideoFrame | None = None
        self._first_frame_ms = 0.0
        self._key_times_s: list[float] = []
        self._times_s: list[float] = []

    def report(self, permit: Callable[[], None]) -> ProbeReport:
        permit()
        name, failure, stage = self._address.name, None, "connecting"
        try:
            with interruptible(self._is_over), self._opened() as container:
                stage = "reading"
                try:
                    self._watch(container)
                except FFmpegError as error:
                    failure = error
                if self._picture is not None:
                    return self._report(container, self._picture)
        except FFmpegError as error:
            failure = error
        if self._is_file:
            raise SourceError(
                f"{name}: decoding: no frame can be read; record or copy it again",
                "FILE_EMPTY" if failure is None else "FILE_CORRUPT",
            )
        if self._is_over():
            raise no_answer(name, stage)
        if failure is None:
            raise disconnected(name)
        if stage == "connecting":
            raise connection_error(failure, self._address, self._config, permit)
        raise stream_error(failure, name, stage)

    def _opened(self) -> InputContainer:
        if self._is_file:
            return open_video_file(self._address, self._config)
        return open_container(self._address, self._config, self._attempt)

    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline

    def _watch(self, container: InputContainer) -> None:
        """Decode one picture and collect packet times. Raises FFmpegError if reading breaks off."""
        no_video = "FILE_NOT_VIDEO" if self._is_file else "STREAM_NO_VIDEO"
        track = VideoTrack(container, self._address.name, self._config.max_pixels, no_video)
        track.stream.codec_context.thread_count = 1
        for packet in islice(container.demux(track.stream), _MOST_PACKETS):
            if packet.pts is not None:
                pts_s = float(packet.pts * packet.time_base)
                self._times_s.append(pts_s)
                if packet.is_keyframe:
                    self._key_times_s.append(pts_s)
            if self._picture is None:
                self._picture = next(track.decoded(packet), None)
                if self._picture is not None:
                    now = time.monotonic()
                    self._first_frame_ms = 1e3 * (now - self._started_at)
                    self._deadline = min(self._deadline, now + LOOK_S)
            if self._is_over() or (self._picture is not None and len(self._key_times_s) > 1):
                return

    def _report(self, container: InputContainer, picture: VideoFrame) -> ProbeReport:
        track, keys_s = container.streams.video[0], self._key_times_s
        width, height = picture.width, picture.height
        if picture.rotation % 180:
            width, height = height, width
        if self._is_file:
            rate, has_clock = track.average_rate, "creation_time" in container.metadata
        else:
            rate, has_clock = None, container.start_time_realtime is not None
        return ProbeReport(
            name=self._address.name,
            kind=self._address.kind,
            transport=self._transport(),
            codec=track.codec_context.name,
            width=width,
            height=height,
            fps=self._fps() if rate is None else float(rate),
            keyframe_interval_s=keys_s[1] - keys_s[0] if len(keys_s) > 1 else None,
            has_camera_clock=has_clock,
            first_frame_ms=self._first_frame_ms,
        )

    def _fps(self) -> float | None:
        if len(self._times_s) < 3:
            return None
        passed_s = max(self._times_s) - min(self._times_s)
        return (len(self._times_s) - 1) / passed_s if passed_s > 0 else None

    def _transport(self) -> str:
        if self._address.kind is SourceKind.RTSP:
            return rtsp_transport(self._config, self._attempt)
        if self._address.kind is SourceKind.WEBCAM:
            return "device"
        target = self._address.target
        return urlsplit(target).scheme if "://" in target else "file"
