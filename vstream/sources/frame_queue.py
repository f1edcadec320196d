"""FrameQueue: frames from a decoding thread to one reader; when full, the newest frame wins."""

from collections import deque
from collections.abc import Iterator

from encoders import Frame
from memory.locks import Rank, ranked_condition


class FrameQueue:
    """A bounded queue between two threads. `put` never waits; a full queue drops its oldest."""

    def __init__(self, max_frames: int) -> None:
        self.num_dropped = 0
        self._max_frames = max_frames
        self._frames: deque[Frame] = deque()
        self._changed = ranked_condition(Rank.FRAMES)
        self._ended = False
        self._error: Exception | None = None

    def put(self, frame: Frame) -> None:
        """Add the newest frame, in place of the oldest if need be."""
        with self._changed:
            if self._ended:
                return
            if len(self._frames) == self._max_frames:
                self._frames.popleft()
                self.num_dropped += 1
            self._frames.append(frame)
            self._changed.notify()

    def __len__(self) -> int:
        """Frames that wait to be read."""
        return len(self._frames)

    def await_room(self) -> bool:
        """For whoever must lose none: returns once `put` would drop none; False after the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._frames) < self._max_frames or self._ended)
            return not self._ended

    def end(self, error: Exception | None = None) -> None:
        """No more frames will come. The reader still gets those that wait, then `error`."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def discard(self) -> None:
        """End, and forget the frames that wait."""
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
                self._changed.notify()  # whoever waits for room
                return self._frames.popleft()
            if self._error is not None:
                raise self._error
            return None
