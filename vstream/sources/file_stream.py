"""FileStream: plays a file in a thread of its own, at a speed or as fast as its reader takes it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import av
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import UInt8

from encoders import Frame
from memory.locks import Rank, ranked_lock
from vstream.errors import SourceError
from vstream.sources.address import SourceAddress
from vstream.sources.config import SourceConfig, Speed
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.errors import file_error
from vstream.sources.frame_queue import FrameQueue, QueuedSource
from vstream.sources.opening import open_container
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.status import SourceState, SourceStatus
from vstream.sources.video_track import VideoTrack

AHEAD = 16
"""Frames decoded before anybody asks for them: two chunks of the decoder."""


class FileStream(QueuedSource):
    """The frames of one file from `start_s` on. Iterate once.

    At a speed it plays like a camera: each frame comes when it is due, and a slow reader gets the
    newest. At "max" none is lost: the thread pauses while `AHEAD` frames wait.

    `stream_s` is media time from the file's first frame; a looping file starts over at its end, and
    its stream time goes on. `captured_at` is when a frame was recorded: media time after the file's
    creation_time tag or, without one, after its modification time, but never in the future. A loop
    stands for a camera: its frames are captured as they are read.
    """

    def __init__(
        self,
        address: SourceAddress,
        config: SourceConfig,
        *,
        start_s: float,
        wants: Callable[[float], bool],
        speed: Speed,
        mask: PrivacyMask | None = None,
        loop: bool = False,
    ) -> None:
        """Open the file and start to play; at "max", once somebody reads. Raises SourceError
        (FILE_..., SOURCE_TOO_LARGE) if no video can be read from it.
        """
        super().__init__(address.name, config, wants, mask)
        self.is_live = speed != "max"
        if not self.is_live:
            self._queue = FrameQueue(AHEAD)
        self._state = SourceState.RUNNING
        self._start_s = start_s
        self._speed = speed
        self._loop = loop
        self._is_read = False
        self._container = open_video_file(address, config)
        self._track = VideoTrack(
            self._container, self.name, config.max_pixels, "FILE_NOT_VIDEO", self._counts
        )
        stream = self._track.stream
        stream.thread_type = "AUTO"
        self._tick_s = stream.time_base or 0
        self._first_pts_s = float((stream.start_time or 0) * self._tick_s)
        length_s = (stream.duration or 0) * self._tick_s
        self._length_s = float(length_s or (self._container.duration or 0) / av.time_base)
        self._recorded_at = recorded_at(self._container, address.target)
        self._closing = threading.Event()
        self._giving_back = ranked_lock(Rank.FILE)  # two at once would free the container twice
        self._thread = threading.Thread(target=self._play, name=f"read {self.name}", daemon=True)
        if self.is_live:
            self._thread.start()

    @property
    def status(self) -> SourceStatus:
        """Report running until the reader has had the last frame, wherever the decoder is."""
        is_over = self._is_read or self._closing.is_set()
        state = self._state if is_over else SourceState.RUNNING
        last_error = self._last_error if self._is_read else None
        return replace(super().status, state=state, last_error=last_error)

    @property
    def has_waiting(self) -> bool:
        return not self.is_live or super().has_waiting

    def __iter__(self) -> Iterator[Frame]:
        """Raises SourceError (FILE_EMPTY, FILE_CORRUPT) if the file has nothing or breaks off, and
        (SOURCE_TOO_LARGE) at a picture that is too large; after the frames before it.
        """
        if not self.is_live:
            self._thread.start()
        try:
            yield from super().__iter__()
        finally:
            self._is_read = True

    @property
    def length_s(self) -> float | None:
        """The length that the container gives; None if it gives none."""
        return self._length_s or None

    def close(self) -> None:
        """End the iteration and close the file. From any thread, any number of times."""
        self._closing.set()
        self._queue.discard()
        if self._thread.is_alive():
            self._thread.join()
        with self._giving_back:
            self._container.close()
        self._state = SourceState.ENDED

    def _play(self) -> None:
        started_at = time.monotonic()
        try:
            with interruptible(self._closing.is_set):
                for pixels, stream_s in self._wanted():
                    if self._speed == "max":
                        is_over = not self._queue.await_room()
                    else:
                        due_at = started_at + (stream_s - self._start_s) / self._speed
                        is_over = self._closing.wait(due_at - time.monotonic())
                    if is_over:
                        return
                    self._queue.put(Frame(pixels, stream_s, self._captured_at(stream_s)))
                    if self.is_live:
                        self._last_frame_at = time.monotonic()
            self._state = SourceState.ENDED
            self._queue.end()
        except Exception as error:  # noqa: BLE001  the reader gets it
            self._queue.end(error)

    def _captured_at(self, stream_s: float) -> float:
        now = time.time()
        return now if self._loop else min(now, self._recorded_at + stream_s)

    def _wanted(self) -> Iterator[tuple[UInt8[np.ndarray, "height width 3"], float]]:
        """Yield the pixels of the wanted frames, each with its stream time, until `close`."""
        if self._closing.is_set():  # closed before it started
            return
        for picture, stream_s in self._played():
            if self._closing.is_set():
                return
            if stream_s < self._start_s - 1e-6:
                continue  # between the key frame before the start and the start
            if self._wants(stream_s):
                yield self._scaler.pixels(picture), stream_s
            else:
                self._counts.frames_not_wanted += 1

    def _played(self) -> Iterator[tuple[VideoFrame, float]]:
        """Yield pictures from about the start on, each with its stream time; a loop never ends. A
        loop goes on where it was left, if the file gives its length, else from its beginning.
        """
        begin_s = 0.0
        if self._loop:
            begin_s = self._start_s - (self._start_s % self._length_s if self._length_s else 0)
        from_s: float | None = self._start_s - begin_s or None
        while True:
            media_s = 0.0
            for picture in self._pictures(from_s):
                if picture.time is not None:
                    media_s = max(media_s, picture.time - self._first_pts_s)
                yield picture, begin_s + media_s
            if not self._loop:
                return
            begin_s += max(self._length_s, media_s + 1 / (self._track.stream.average_rate or 1))
            from_s = 0.0

    def _pictures(self, from_s: float | None) -> Iterator[VideoFrame]:
        fault, before = None, self._counts.frames_received
        try:
            if from_s is not None and self._tick_s:
                pts = int((self._first_pts_s + from_s) / self._tick_s)
                yield from self._track.pictures_from(pts)
            else:
                yield from self._track.pictures()
        except SourceError as error:
            fault = error
        except FFmpegError as error:
            fault = SourceError(
                f"{self.name}: reading: {error.strerror}; the file is cut short or damaged, copy "
                "or record it again",
                "FILE_CORRUPT",
            )
        if fault is None and self._counts.frames_received == before:
            fault = SourceError(
                f"{self.name}: decoding: the video track holds no frame, or none of at most "
                f"{self._track.max_pixels} pixels (source.max_pixels); record it again",
                "FILE_EMPTY",
            )
        if fault is not None:
            self._state, self._last_error = SourceState.ERROR, fault
            raise fault


def open_video_file(address: SourceAddress, config: SourceConfig) -> InputContainer:
    """Open a container of the file. Raises SourceError (FILE_...)."""
    target, name = address.target, address.name
    if os.path.isdir(target):
        raise SourceError(f"{name}: opening: this is a directory; give one file", "FILE_NOT_VIDEO")
    if os.path.isfile(target) and os.path.getsize(target) == 0:
        raise SourceError(
            f"{name}: opening: the file is empty; record or copy it again", "FILE_EMPTY"
        )
    try:
        return open_container(address, config)
    except FFmpegError as error:
        failure = error
    raise file_error(failure, name)


def recorded_at(container: InputContainer, target: str) -> float:
    """Return when the file's first frame was taken, in seconds since the epoch, as far as known."""
    tag = container.metadata.get("creation_time", "")
    try:
        created_at = datetime.fromisoformat(tag).timestamp()
    except ValueError:
        created_at = 0.0
    if created_at > 0:  # recorders without a clock write the epoch, or that of 1904
        return created_at
    return os.path.getmtime(target) if os.path.exists(target) else time.time()
