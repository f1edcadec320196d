"""PacedFile: a file played at the speed at which it was taken, or some times that, as if live."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import structlog

from encoders import Frame
from memory.closing import Closing
from vstream.errors import SourceError
from vstream.sources.config import SourceConfig
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.file_stream import FileStream
from vstream.sources.frame_queue import FrameQueue
from vstream.sources.status import SourceStatus

log = structlog.get_logger()


class PacedFile(Closing):
    """A FileStream by the wall clock: each frame when it is due, to a slow reader the newest."""

    is_live = True

    def __init__(
        self, file: FileStream, config: SourceConfig, *, start_s: float, speed: float = 1.0
    ) -> None:
        """Start to play, `speed` times as fast as taken; `file` now belongs to this object."""
        assert speed > 0, speed
        self.name = file.name
        self._file = file
        self._start_s = start_s
        self._speed = speed
        self._queue = FrameQueue(config.queue_frames)
        self._num_delivered = 0
        self._last_frame_at: float | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._play, name=f"play {self.name}", daemon=True)
        self._thread.start()

    @property
    def status(self) -> SourceStatus:
        """How far it is, with the frames that a slow reader missed."""
        status = self._file.status
        counts = replace(
            status.counts,
            frames_stale=self._queue.num_dropped,
            frames_delivered=self._num_delivered,
        )
        last = self._last_frame_at
        age_s = None if last is None else time.monotonic() - last
        return replace(status, counts=counts, last_frame_age_s=age_s)

    @property
    def has_waiting(self) -> bool:
        return bool(self._queue)

    def __iter__(self) -> Iterator[Frame]:
        """Raises SourceError (FILE_...) where the file cannot be read on."""
        for frame in self._queue:
            self._num_delivered += 1
            yield frame

    def close(self) -> None:
        """Stop playing, end the iteration and give the file back."""
        self._closing.set()
        self._queue.discard()
        self._file.close()
        self._thread.join()

    def _play(self) -> None:
        begun_at = time.monotonic()
        try:
            with interruptible(self._closing.is_set):
                for frame in self._file:
                    due_at = begun_at + (frame.stream_s - self._start_s) / self._speed
                    if self._closing.wait(due_at - time.monotonic()):
                        break
                    captured_at = self._file.captured_at(frame.stream_s)  # it was read ahead
                    self._queue.put(replace(frame, captured_at=captured_at))
                    self._last_frame_at = time.monotonic()
        except SourceError as error:
            self._queue.end(error)
        except Exception as error:
            log.exception("playing failed", source=self.name)
            self._queue.end(error)
        self._queue.end()
