"""PushedFrames: turns JPEGs that a client pushes into frames of a live stream."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from av import VideoFrame

from encoders import Frame
from memory.locks import Rank, ranked_lock
from vstream.errors import SourceError
from vstream.sources.config import SourceConfig
from vstream.sources.frame_queue import QueuedSource
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.status import SourceState, SourceStatus
from vstream.sources.still_picture import StillPicture

MAX_AHEAD_S = 30.0
"""How far in the future a frame's capture time may lie: clocks differ."""
_MIN_STEP_S = 1e-3


@dataclass(frozen=True)
class PushOutcome:
    stream_s: float
    accepted: bool
    dropped: Literal["rate", "busy"] | None = None
    """`rate`: this frame, not needed for sampling; `busy`: an older one that this one replaced."""


class PushedFrames(QueuedSource):
    """A live source whose frames come from `push`. Stream time keeps step with `captured_at`.

    The first frame of a stream has `stream_s` 0. A resumed stream is at `start_s` when this object
    is made; frames captured shortly before lie before that.
    """

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        start_s: float = 0.0,
        wants: Callable[[float], bool] = lambda stream_s: True,
        *,
        mask: PrivacyMask | None = None,
    ) -> None:
        """`wants` is asked in `push`, once per frame, in order; see `open_source`."""
        super().__init__(name, config, wants, mask)
        self._start_s = start_s
        self._began_at = time.time() if start_s > 0 else None
        self._newest_at: float | None = None
        self._closed = False
        self._pushing = ranked_lock(Rank.PUSHED_FRAMES)  # one frame at a time

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
        status = super().status
        if self._closed:
            return replace(status, state=SourceState.ENDED)
        if status.last_frame_age_s is None:
            return status
        is_stalled = status.last_frame_age_s > self._config.stall_s
        return replace(status, state=SourceState.STALLED if is_stalled else SourceState.RUNNING)

    def close(self) -> None:
        """End the iteration and take no more frames. From any thread, any number of times."""
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
        picture = StillPicture(jpeg, self.name, self._config.max_pixels)
        frame = None
        if self._wants(stream_s):
            upright = VideoFrame.from_ndarray(picture.pixels(self._config.max_side), format="rgb24")
            frame = Frame(self._scaler.pixels(upright), stream_s, captured_at)
        self._newest_at, self._last_frame_at = captured_at, time.monotonic()
        self._last_error = None
        if self._began_at is None:
            self._began_at = captured_at
        self._counts.frames_received += 1
        if frame is None:
            self._counts.frames_not_wanted += 1
            return PushOutcome(stream_s, accepted=False, dropped="rate")
        is_busy = self._queue.put(frame)
        return PushOutcome(stream_s, accepted=True, dropped="busy" if is_busy else None)

    def _time_of_capture(self, captured_at: float | None) -> float:
        now, newest_at = time.time(), self._newest_at
        if captured_at is None:
            return self._now_after(now)
        if not math.isfinite(captured_at):
            raise self._untimely("its time of capture is no number", "FRAME_INVALID")
        if captured_at > now + MAX_AHEAD_S:
            raise self._untimely(f"it was captured {captured_at - now:.0f} s from now")
        if newest_at is not None and captured_at <= newest_at:
            raise self._untimely(f"it is {newest_at - captured_at:.3f} s older than the newest")
        return captured_at

    def _now_after(self, now: float) -> float:
        """Return when a frame that came now was captured. Stream time goes on if the clock is set
        back.
        """
        if self._newest_at is None or self._began_at is None or self._last_frame_at is None:
            return now
        due_at = self._newest_at + max(time.monotonic() - self._last_frame_at, _MIN_STEP_S)
        if due_at - now <= MAX_AHEAD_S:  # a client's own times may be ahead by as much
            return max(now, due_at)
        self._began_at += now - due_at
        self._newest_at += now - due_at
        return now

    def _stream_s(self, captured_at: float) -> float:
        if self._began_at is None:
            return 0.0
        stream_s = self._start_s + captured_at - self._began_at
        if stream_s < 0:
            raise self._untimely("it was captured before the stream began")
        return stream_s

    def _untimely(self, reason: str, code: str = "FRAME_OUT_OF_ORDER") -> SourceError:
        return SourceError(
            f"{self.name}: pushing a frame: {reason}; set the clock, and send frames in order", code
        )
