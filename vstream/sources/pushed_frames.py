"""PushedFrames: JPEGs that a client hands in, frames of a live stream out."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from av import VideoFrame
from jaxtyping import UInt8

from encoders import Frame
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.errors import SourceError
from vstream.sources.config import SourceConfig
from vstream.sources.frame_queue import FrameQueue
from vstream.sources.frame_source import every_frame
from vstream.sources.jpeg_picture import JpegPicture
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.rgb_scaler import RgbScaler
from vstream.sources.status import SourceCounts, SourceState, SourceStatus

MAX_AHEAD_S = 30.0
"""A frame's time of capture may be this far in the future: clocks differ."""
_MIN_STEP_S = 1e-3


@dataclass(frozen=True)
class PushOutcome:
    """What became of one pushed frame."""

    stream_s: float
    accepted: bool
    dropped: Literal["rate", "busy"] | None = None
    """`rate`: this frame, which the sampling rate has no use for; `busy`: an older one that waited,
    in place of which this one was accepted."""


class PushedFrames(Closing):
    """A live source whose frames come from `push`. Stream time keeps step with `captured_at`.

    The first frame of a stream has `stream_s` 0. One that is resumed stands at `start_s` when this
    object is made; frames that were captured shortly before lie before that.
    """

    is_live = True

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        start_s: float = 0.0,
        wants: Callable[[float], bool] = every_frame,
        *,
        mask: PrivacyMask | None = None,
    ) -> None:
        """`wants` is asked in `push`, once for each frame in order; see `open_source`."""
        self.name = name
        self._config = config
        self._wants = wants
        self._scaler = RgbScaler(config.max_side, mask)
        self._queue = FrameQueue(config.queue_frames)
        self._counts = SourceCounts()
        self._last_error: SourceError | None = None
        self._start_s = start_s
        self._began_at = time.time() if start_s > 0 else None
        self._newest_at: float | None = None
        self._last_frame_at: float | None = None
        self._closed = False
        self._pushing = ranked_lock(Rank.PUSHED_FRAMES)  # one frame after the other

    def push(self, jpeg: bytes, captured_at: float | None = None) -> PushOutcome:
        """Hand in the next frame, captured now or at `captured_at` (epoch seconds). Never waits
        for the reader. From any thread.

        Raises SourceError: FRAME_INVALID for anything but a whole JPEG of acceptable size,
        FRAME_OUT_OF_ORDER for a frame that is not newer than the last or lies in the future,
        STREAM_DISCONNECTED after `close`.
        """
        with self._pushing:
            try:
                return self._take(jpeg, captured_at)
            except SourceError as error:
                if error.code == "FRAME_INVALID":
                    self._counts.frames_corrupt += 1
                else:
                    self._counts.frames_refused += 1
                self._last_error = error
                raise

    @property
    def status(self) -> SourceStatus:
        """How the client is doing now; any frame that is not refused is a sign of life."""
        state, age_s = SourceState.CONNECTING, None
        if self._last_frame_at is not None:
            age_s = time.monotonic() - self._last_frame_at
            stalled = age_s > self._config.stall_s
            state = SourceState.STALLED if stalled else SourceState.RUNNING
        if self._closed:
            state = SourceState.ENDED
        counts = replace(self._counts, frames_stale=self._queue.num_dropped)
        return SourceStatus(state, counts, self._last_error, age_s)

    @property
    def has_waiting(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[Frame]:
        """Ends at `close`."""
        for frame in self._queue:
            self._counts.frames_delivered += 1
            yield frame

    def close(self) -> None:
        """End the iteration and take no more frames. From any thread, repeatedly."""
        self._closed = True
        self._queue.discard()

    def _take(self, jpeg: bytes, captured_at: float | None) -> PushOutcome:
        if self._closed:
            raise SourceError(
                f"{self.name}: pushing a frame: the stream has ended; open it again",
                "STREAM_DISCONNECTED",
            )
        captured_at = self._time_of_capture(captured_at)
        stream_s = self._stream_s(captured_at)
        picture = JpegPicture(jpeg, self.name, self._config.max_pixels)
        wanted = self._wants(stream_s)
        frame = Frame(self._pixels(picture), stream_s, captured_at) if wanted else None
        self._newest_at, self._last_frame_at = captured_at, time.monotonic()
        self._last_error = None
        if self._began_at is None:
            self._began_at = captured_at
        self._counts.frames_received += 1
        if frame is None:
            self._counts.frames_not_wanted += 1
            return PushOutcome(stream_s, accepted=False, dropped="rate")
        dropped_before = self._queue.num_dropped
        self._queue.put(frame)
        busy = self._queue.num_dropped > dropped_before
        return PushOutcome(stream_s, accepted=True, dropped="busy" if busy else None)

    def _time_of_capture(self, captured_at: float | None) -> float:
        now, newest_at = time.time(), self._newest_at
        if captured_at is None:  # also where the clock went back
            return now if newest_at is None else max(now, newest_at + _MIN_STEP_S)
        if not math.isfinite(captured_at):
            raise self._untimely("its time of capture is no number", "FRAME_INVALID")
        if captured_at > now + MAX_AHEAD_S:
            raise self._untimely(f"it was captured {captured_at - now:.0f} s from now")
        if newest_at is not None and captured_at <= newest_at:
            raise self._untimely(f"it is {newest_at - captured_at:.3f} s older than the newest")
        return captured_at

    def _stream_s(self, captured_at: float) -> float:
        if self._began_at is None:
            return 0.0
        stream_s = self._start_s + captured_at - self._began_at
        if stream_s < 0:
            raise self._untimely("it was captured before the stream began")
        return stream_s

    def _pixels(self, picture: JpegPicture) -> UInt8[np.ndarray, "height width 3"]:
        pixels = picture.pixels(self._config.max_side)
        return self._scaler.pixels(VideoFrame.from_ndarray(pixels, format="rgb24"))

    def _untimely(self, reason: str, code: str = "FRAME_OUT_OF_ORDER") -> SourceError:
        return SourceError(
            f"{self.name}: pushing a frame: {reason}; set the clock, and send frames in order", code
        )
