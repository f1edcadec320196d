"""ReadAhead: a file in, its frames out, decoded in a thread of its own while others are encoded."""

import threading
from collections.abc import Iterator
from dataclasses import replace

from encoders import Frame
from memory.closing import Closing
from vstream.errors import SourceError
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.file_stream import FileStream
from vstream.sources.frame_queue import FrameQueue
from vstream.sources.status import SourceState, SourceStatus

AHEAD = 16
"""Frames that are decoded before anybody has asked for them: two chunks of the decoder."""


class ReadAhead(Closing):
    """A FileStream without loss: the thread waits while `AHEAD` frames do. Iterate once.

    It is running until its reader has had the last frame, wherever the decoder is.
    """

    is_live = False

    def __init__(self, file: FileStream) -> None:
        """`file` now belongs to this object."""
        self.name = file.name
        self._file = file
        self._queue = FrameQueue(AHEAD)
        self._num_delivered = 0
        self._failure: SourceError | None = None
        self._is_read = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"read {self.name}", daemon=True)

    @property
    def status(self) -> SourceStatus:
        """How far the file has been decoded, and what of that has been delivered."""
        status = self._file.status
        is_over = self._is_read or self._closing.is_set()
        return SourceStatus(
            status.state if is_over else SourceState.RUNNING,
            replace(status.counts, frames_delivered=self._num_delivered),
            self._failure,
        )

    @property
    def has_waiting(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Frame]:
        """Raises SourceError (FILE_EMPTY, FILE_CORRUPT) after the frames that came before it."""
        self._thread.start()
        try:
            for frame in self._queue:
                self._num_delivered += 1
                yield frame
        except SourceError as error:
            self._failure = error
            raise
        finally:
            self._is_read = True

    def close(self) -> None:
        """End the iteration and give the file back. May be called from any thread, repeatedly."""
        self._closing.set()
        self._queue.discard()
        self._file.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _read(self) -> None:
        try:
            with interruptible(self._closing.is_set):
                for frame in self._file:
                    if not self._queue.await_room():
                        return
                    self._queue.put(frame)
        except Exception as error:  # noqa: BLE001  the reader is told
            self._queue.end(error)
        else:
            self._queue.end()
