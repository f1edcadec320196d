"""FileStream: a video file in, every wanted frame out in order, as fast as it can be decoded."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import av
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError

from encoders import Frame
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.errors import SourceError
from vstream.sources.address import SourceAddress
from vstream.sources.config import SourceConfig
from vstream.sources.errors import file_error
from vstream.sources.opening import open_container
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.rgb_scaler import RgbScaler
from vstream.sources.status import SourceCounts, SourceState, SourceStatus
from vstream.sources.video_track import VideoTrack


class FileStream(Closing):
    """The frames of one file from `start_s` on, none lost. Iterate once.

    `stream_s` is media time from the file's first frame; a file that loops begins again at its end,
    and its stream time goes on. `captured_at` is when a frame was recorded: media time after the
    file's creation_time tag or, without one, after its modification time, but never a time to come.
    A loop stands for a camera: its frames are captured as they are read.
    """

    is_live = False

    def __init__(
        self,
        address: SourceAddress,
        config: SourceConfig,
        *,
        start_s: float,
        wants: Callable[[float], bool],
        mask: PrivacyMask | None = None,
        loop: bool = False,
    ) -> None:
        """Open the file. Raises SourceError (FILE_..., SOURCE_TOO_LARGE) if there is no video to be
        had from it.
        """
        self.name = address.name
        self._start_s = start_s
        self._wants = wants
        self._loop = loop
        self._scaler = RgbScaler(config.max_side, mask)
        self._counts = SourceCounts()
        self._state = SourceState.RUNNING
        self._last_error: SourceError | None = None
        self._closing = threading.Event()
        self._decoding = ranked_lock(Rank.FILE)  # during each step: close() may come between
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

    @property
    def status(self) -> SourceStatus:
        """How far it is."""
        return SourceStatus(self._state, replace(self._counts), self._last_error)

    def captured_at(self, stream_s: float) -> float:
        """When the frame at `stream_s`, which is shown now, was captured."""
        now = time.time()
        return now if self._loop else min(now, self._recorded_at + stream_s)

    @property
    def has_waiting(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Frame]:
        """Raises SourceError (FILE_EMPTY, FILE_CORRUPT) when the file has nothing or no more, and
        (SOURCE_TOO_LARGE) at a picture that is too large.
        """
        frames = self._frames()
        while True:
            with self._decoding:
                if self._closing.is_set():
                    return
                frame = next(frames, None)
            if frame is None:
                return
            self._counts.frames_delivered += 1
            yield frame

    def close(self) -> None:
        """End the iteration and give the file back. May be called from any thread, repeatedly."""
        self._closing.set()
        with self._decoding:
            self._container.close()
            self._state = SourceState.ENDED

    def _frames(self) -> Iterator[Frame]:
        for picture, stream_s in self._played():
            if self._closing.is_set():
                return
            if stream_s < self._start_s - 1e-6:
                continue  # between the key frame before the start and the start
            if not self._wants(stream_s):
                self._counts.frames_not_wanted += 1
                continue
            yield Frame(self._scaler.pixels(picture), stream_s, self.captured_at(stream_s))
        self._state = SourceState.ENDED

    def _played(self) -> Iterator[tuple[VideoFrame, float]]:
        """The pictures from about the start on, each with its stream time; of a loop without end.

        A loop goes on where it was left, if the file tells how long it is, else from its beginning.
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
        """From `from_s` on, or from where the container stands."""
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
    """An open container of the file. Raises SourceError (FILE_...) if there is none."""
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
    """When the file's first frame was taken, in seconds since the epoch, as well as is known."""
    tag = container.metadata.get("creation_time", "")
    try:
        created_at = datetime.fromisoformat(tag).timestamp()
    except ValueError:
        created_at = 0.0
    if created_at > 0:  # recorders without a clock write the epoch, or that of 1904
        return created_at
    return os.path.getmtime(target) if os.path.exists(target) else time.time()
