"""LiveStream: delivers the newest frames of a camera for as long as anyone listens.

One thread connects, decodes and, when the connection breaks or falls silent, reconnects. The reader
gets frames through a short queue in which the newest wins, so it never sees the past.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError

from encoders import Frame
from vstream.errors import SourceError
from vstream.sources.address import SourceAddress
from vstream.sources.backoff import Backoff
from vstream.sources.config import SourceConfig
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.errors import PERMANENT_CODES, disconnected, no_answer, stream_error
from vstream.sources.frame_queue import QueuedSource
from vstream.sources.live_decoder import LiveDecoder
from vstream.sources.opening import open_container
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.seldom import Seldom
from vstream.sources.status import SourceState, SourceStatus
from vstream.sources.stream_clock import StreamClock
from vstream.sources.tls import connection_error
from vstream.sources.video_track import VideoTrack

_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS
_CLOCK_TRUST_S = 30.0  # a camera whose clock is further off than this is not believed
log = structlog.get_logger()


class LiveStream(QueuedSource):
    """The frames of one camera. `stream_s` rises, through all reconnections.

    The first frame of a stream has `stream_s` 0; that of a resumed one has `start_s` plus the time
    from opening until it came.

    A camera that was never seen is given up after `connect_timeout_s`, or at once if it refuses the
    login or has no such stream, unless `keep_trying`. One that was seen is never given up.

    `captured_at` is the camera's own time (RTCP) if it is sent and plausible, else the time of
    arrival.
    """

    def __init__(
        self,
        address: SourceAddress,
        config: SourceConfig,
        *,
        start_s: float,
        wants: Callable[[float], bool],
        keep_trying: bool,
        permit: Callable[[], None],
        sample_fps: float | None = None,
        mask: PrivacyMask | None = None,
    ) -> None:
        """Start connecting. `wants` is called from the decoding thread, and so is `permit`, before
        each connection: it raises SourceError if the source may not be reached (any more).
        `sample_fps` is the most frames per second that `wants` takes, if that is known.
        """
        super().__init__(address.name, config, wants, mask)
        self._address = address
        self._permit = permit
        self._sample_fps = sample_fps
        self._give_up_at = None if keep_trying else time.monotonic() + config.connect_timeout_s
        self._clock = StreamClock(start_s, since_s=time.monotonic() if start_s > 0 else None)
        self._lost = Seldom()
        self._num_attempts = 0
        self._last_sign_at = time.monotonic()  # of life: a picture, or a packet passed over
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {self.name}", daemon=True)
        self._thread.start()

    @property
    def status(self) -> SourceStatus:
        status = super().status
        silent_s = time.monotonic() - self._last_sign_at
        if status.state is SourceState.RUNNING and silent_s > self._config.stall_s:
            return replace(status, state=SourceState.STALLED)
        return status

    def close(self) -> None:
        """Disconnect and end the iteration, at once even if the camera hangs. From any thread."""
        self._closing.set()
        self._queue.discard()
        self._thread.join()

    def _run(self) -> None:
        try:
            with interruptible(lambda: self._closing.is_set() or self._is_overdue()):
                self._stay_connected()
            self._state = SourceState.ENDED
            self._queue.end()
        except Exception as error:
            self._state = SourceState.ERROR
            if isinstance(error, SourceError):
                self._last_error = error
            else:
                log.exception("watching failed", source=self.name)
            self._queue.end(error)

    def _stay_connected(self) -> None:
        backoff = Backoff(self._config.retry_min_s, self._config.retry_max_s)
        while True:
            connected_at = time.monotonic()
            error = self._watch_once()
            if self._closing.is_set():
                return
            if self._gives_up(error):
                raise error
            if time.monotonic() - connected_at >= self._config.stable_s:
                backoff.reset()
            wait_s = backoff.next_s()
            self._state, self._last_error = SourceState.RECONNECTING, error
            if times := self._lost.times(error.code):
                log.warning(
                    "source lost",
                    source=self.name,
                    code=error.code,
                    reason=str(error),
                    retry_s=wait_s,
                    times=times,
                )
            if self._give_up_at is not None:
                wait_s = min(wait_s, max(0.0, self._give_up_at - time.monotonic()))
            if self._closing.wait(wait_s):
                return
            self._counts.reconnects += 1

    def _watch_once(self) -> SourceError:
        """Connect and deliver frames until that ends; return what ended it."""
        stage, began = "connecting", time.monotonic()
        self._clock.disconnect()
        self._num_attempts += 1
        try:
            self._permit()
            with open_container(self._address, self._config, self._num_attempts) as container:
                stage = "reading"
                return self._watch(container)
        except SourceError as error:
            return error
        except FFmpegError as error:
            if self._is_overdue():
                return self._last_error or no_answer(self.name, stage)
            if stage == "reading":
                return stream_error(error, self.name, stage)
            took_s = time.monotonic() - began
            fault = connection_error(error, self._address, self._config, self._permit)
            is_late = took_s >= self._config.connect_timeout_s  # FFmpeg calls it invalid data
            unclear = fault.code == "STREAM_CONNECTION_FAILED"
            return no_answer(self.name, stage) if is_late and unclear else fault

    def _watch(self, container: InputContainer) -> SourceError:
        max_pixels = self._config.max_pixels
        track = VideoTrack(container, self.name, max_pixels, "STREAM_NO_VIDEO", self._counts)
        track.stream.codec_context.thread_count = 1  # enough for a camera; more would add delay
        sample_fps = self._sample_fps if _has_times(container) else None
        decoder = LiveDecoder(track, self._config.decode, sample_fps)
        self._last_sign_at = time.monotonic()
        for packet in container.demux():
            if self._closing.is_set():
                break
            if packet.stream is track.stream:
                for picture in decoder.pictures(packet):
                    self._deliver(picture, container)
                if decoder.is_resting:
                    self._last_sign_at = time.monotonic()
            if time.monotonic() - self._last_sign_at > self._config.read_timeout_s:
                return no_answer(self.name, "decoding")  # data comes, but no picture
        return disconnected(self.name)

    def _deliver(self, picture: VideoFrame, container: InputContainer) -> None:
        arrival_s = time.monotonic()
        if self._state is not SourceState.RUNNING:
            self._state, self._last_error = SourceState.RUNNING, None
            self._lost.is_well()
            log.info("source running", source=self.name, reconnects=self._counts.reconnects)
        self._last_frame_at = self._last_sign_at = arrival_s
        self._give_up_at = None
        pts_s = picture.time if _has_times(container) else None
        stream_s = self._clock.advance(pts_s, arrival_s)
        if not self._wants(stream_s):
            self._counts.frames_not_wanted += 1
            return
        captured_at = _captured_at(picture, container)
        self._queue.put(Frame(self._scaler.pixels(picture), stream_s, captured_at))

    def _is_overdue(self) -> bool:
        return self._give_up_at is not None and time.monotonic() >= self._give_up_at

    def _gives_up(self, error: SourceError) -> bool:
        if self._give_up_at is None:  # seen before, or never to be given up
            return False
        return error.code in PERMANENT_CODES or self._is_overdue()


def _has_times(container: InputContainer) -> bool:
    """False for a mere sequence of pictures, such as MJPEG: FFmpeg makes up 25 a second."""
    return not container.format.flags & _NO_TIMES


def _captured_at(picture: VideoFrame, container: InputContainer) -> float:
    arrived_at = time.time()
    if container.start_time_realtime is None or picture.time is None:
        return arrived_at
    captured_at = container.start_time_realtime / 1e6 + picture.time
    return captured_at if abs(captured_at - arrived_at) < _CLOCK_TRUST_S else arrived_at
