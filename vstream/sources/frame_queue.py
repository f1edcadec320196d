"""FrameQueue: passes frames from a decoding thread to one reader; when full, the newest wins."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from encoders import Frame
from memory.closing import Closing
from memory.locks import Rank, ranked_condition
from vstream.errors import SourceError
from vstream.sources.config import SourceConfig
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.rgb_scaler import RgbScaler
from vstream.sources.status import SourceCounts, SourceState, SourceStatus


class FrameQueue:
    """A bounded queue between two threads. `put` never waits; a full queue drops its oldest."""

    def __init__(self, max_frames: int) -> None:
        self.num_dropped = 0
        self._max_frames = max_frames
        self._frames: deque[Frame] = deque()
        self._changed = ranked_condition(Rank.FRAMES)
        self._ended = False
        self._error: Exception | None = None

    def put(self, frame: Frame) -> bool:
        """Add the newest frame; return whether the oldest was dropped for it."""
        with self._changed:
            if self._ended:
                return False
            is_full = len(self._frames) == self._max_frames
            if is_full:
                self._frames.popleft()
                self.num_dropped += 1
            self._frames.append(frame)
            self._changed.notify()
            return is_full

    def __len__(self) -> int:
        return len(self._frames)

    def await_room(self) -> bool:
        """Wait until `put` would drop nothing, so that none is lost; return False after the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) < self._max_frames or self._ended)
            return not self._ended

    def end(self, error: Exception | None = None) -> None:
        """Take no more frames. The reader still gets those that wait, then `error`."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def discard(self) -> None:
        """End, and drop the frames that wait."""
        self.end()
        with self._changed:
            self._frames.clear()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended)
            if self._frames:
                self._changed.notify()  # a writer may wait for room
                return self._frames.popleft()
            if self._error is not None:
                raise self._error
            return None


class QueuedSource(Closing):
    """Base of the sources whose frames come from another thread through a FrameQueue."""

    is_live = True

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        wants: Callable[[float], bool],
        mask: PrivacyMask | None,
    ) -> None:
        self.name = name
        self._config = config
        self._wants = wants
        self._scaler = RgbScaler(config.max_side, mask)
        self._queue = FrameQueue(config.queue_frames)
        self._counts = SourceCounts()
        self._state = SourceState.CONNECTING
        self._last_error: SourceError | None = None
        self._last_frame_at: float | None = None
        """By the monotonic clock."""

    @property
    def has_waiting(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[Frame]:
        """Ends at `close`. Raises SourceError if the source fails for good."""
        for frame in self._queue:
            self._counts.frames_delivered += 1
            yield frame

    @property
    def status(self) -> SourceStatus:
        counts = replace(self._counts, frames_stale=self._queue.num_dropped)
        newest_at = self._last_frame_at
        age_s = None if newest_at is None else time.monotonic() - newest_at
        return SourceStatus(self._state, counts, self._last_error, age_s)
