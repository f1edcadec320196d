"""FilePlayer: plays a file in a thread of its own, at a speed or as fast as its reader takes it."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from encoders import Frame
from vstream.sources.config import SourceConfig, Speed
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.file_stream import FileStream
from vstream.sources.frame_queue import QueuedSource
from vstream.sources.status import SourceState, SourceStatus

AHEAD = 16
"""Frames that are decoded before anybody has asked for them: two chunks of the decoder."""


class FilePlayer(QueuedSource):
    """The frames of a FileStream. Iterate once.

    At a speed it plays as if it were a camera: each frame comes when it is due, and a slow reader
    gets the newest. At "max" none is lost: the thread waits while `AHEAD` frames do.
    """

    def __init__(
        self, file: FileStream, config: SourceConfig, *, start_s: float, speed: Speed
    ) -> None:
        """Start to play, at "max" once somebody reads; `file` now belongs to this object."""
        self.is_live = speed != "max"
        super().__init__(file.name, config.queue_frames if self.is_live else AHEAD)
        self._file = file
        self._start_s = start_s
        self._speed = speed
        self._is_read = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._play, name=f"read {self.name}", daemon=True)
        if self.is_live:
            self._thread.start()

    @property
    def status(self) -> SourceStatus:
        """It is running until its reader has had the last frame, wherever the decoder is."""
        decoding = self._file.status
        state = SourceState.RUNNING
        if self._is_read or self._closing.is_set():
            state = decoding.state
        status = self._status(state, decoding.last_error if self._is_read else None)
        lost, delivered = status.counts.frames_stale, status.counts.frames_delivered
        counts = replace(decoding.counts, frames_stale=lost, frames_delivered=delivered)
        return replace(status, counts=counts)

    @property
    def has_waiting(self) -> bool:
        return not self.is_live or super().has_waiting

    def __iter__(self) -> Iterator[Frame]:
        """Raises SourceError (FILE_EMPTY, FILE_CORRUPT) after the frames that came before it."""
        if not self.is_live:
            self._thread.start()
        try:
            yield from super().__iter__()
        finally:
            self._is_read = True

    def close(self) -> None:
        """End the iteration and give the file back. May be called from any thread, repeatedly."""
        self._closing.set()
        self._queue.discard()
        self._file.close()
        if self._thread.is_alive():
            self._thread.join()

    def _play(self) -> None:
        begun_at = time.monotonic()
        try:
            with interruptible(self._closing.is_set):
                for frame in self._file:
                    if self._speed == "max":
                        if not self._queue.await_room():
                            break
                        self._queue.put(frame)
                        continue
                    due_at = begun_at + (frame.stream_s - self._start_s) / self._speed
                    if self._closing.wait(due_at - time.monotonic()):
                        break
                    captured_at = self._file.captured_at(frame.stream_s)  # it was read ahead
                    self._queue.put(replace(frame, captured_at=captured_at))
                    self._last_frame_at = time.monotonic()
        except Exception as error:  # noqa: BLE001  the reader is told
            self._queue.end(error)
        self._queue.end()
