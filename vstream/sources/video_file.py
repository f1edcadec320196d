"""VideoFile: reads frames of a video file at any moments, for offline evaluation.

decord does the seeking and decoding; without it PyAV does the same, slower.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from av import VideoFrame
from jaxtyping import UInt8

from encoders import Frame
from memory.closing import Closing
from vstream.errors import SourceError
from vstream.sources.address import SourceKind, parse_address
from vstream.sources.config import SourceConfig
from vstream.sources.file_stream import open_video_file, recorded_at
from vstream.sources.rgb_scaler import RgbScaler
from vstream.sources.video_track import VideoTrack

SAME_MOMENT_S = 1e-3  # containers round times by up to this much


class VideoFile(Closing):
    """Random access by time. Use as a context manager, from one thread."""

    duration_s: float
    """From when the first frame appears to when the last one disappears."""

    def __init__(
        self,
        path: str,
        config: SourceConfig | None = None,
        *,
        decoder: Literal["decord", "pyav"] | None = None,
    ) -> None:
        """Open the file; None takes decord if it is installed. Raises SourceError (FILE_...)."""
        config = config or SourceConfig()
        address = parse_address(path)
        self.name = address.name
        if address.kind is not SourceKind.FILE:
            raise SourceError(
                f"{self.name}: opening: a live source has no past to look up; give a file",
                "SOURCE_UNSUPPORTED",
            )
        self._container = open_video_file(address, config)
        self._recorded_at = recorded_at(self._container, address.target)
        self._track = VideoTrack(self._container, self.name, config.max_pixels, "FILE_NOT_VIDEO")
        self._scaler = RgbScaler(config.max_side)
        self._read_timeline()
        self._pictures: Iterator[VideoFrame] = iter(())
        self._position: int | None = None
        """Presentation time stamp of the picture decoded last."""
        self._indexed: _DecordReader | None = None
        if decoder == "decord" or (decoder is None and importlib.util.find_spec("decord")):
            height, width, _ = self._pixels(0).shape
            indexed = _DecordReader(address.target, width=width, height=height)
            if indexed.num_frames == len(self._times_s):
                self._indexed = indexed  # else it counts hidden frames, and its indices are off

    def frames_at(self, seconds: Sequence[float]) -> list[Frame]:
        """Return the frame on screen at each of these moments, in the given order."""
        moments_s = np.asarray(seconds, dtype=float)
        found = np.searchsorted(self._times_s, moments_s + SAME_MOMENT_S, side="right") - 1
        indices = [int(index) for index in found.clip(0, len(self._times_s) - 1)]
        read = self._pixels if self._indexed is None else self._indexed.pixels
        pixels = {index: read(index) for index in sorted(set(indices))}
        times_s = {index: float(self._times_s[index]) for index in pixels}
        return [
            Frame(pixels[index], times_s[index], self._recorded_at + times_s[index])
            for index in indices
        ]

    def close(self) -> None:
        self._container.close()

    def _read_timeline(self) -> None:
        """Find when each frame appears, from the packets alone, without decoding."""
        shown = sorted(
            (packet.pts, packet.duration or 0, packet.is_keyframe)
            for packet in self._container.demux(self._track.stream)
            if packet.pts is not None
        )
        if not shown or self._track.stream.time_base is None:
            raise SourceError(
                f"{self.name}: decoding: the video track holds no frame; record it again",
                "FILE_EMPTY",
            )
        tick_s = float(self._track.stream.time_base)
        self._pts = np.array([start for start, _, _ in shown], dtype=np.int64)
        self._key_pts = self._pts[[is_key for _, _, is_key in shown]]
        self._times_s = (self._pts - self._pts[0]) * tick_s
        self.duration_s = (shown[-1][0] + shown[-1][1] - shown[0][0]) * tick_s

    def _pixels(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return a frame by its number as shown; decodes from the key frame before it."""
        pts = int(self._pts[index])
        before = max(0, int(np.searchsorted(self._key_pts, pts, side="right")) - 1)
        if self._position is None or not self._key_pts[before] <= self._position < pts:
            self._pictures = self._track.pictures_from(pts)
        for picture in self._pictures:
            self._position = picture.pts
            if picture.pts is not None and picture.pts >= pts:
                return self._scaler.pixels(picture)
        raise SourceError(
            f"{self.name}: decoding: no picture at {self._times_s[index]:.3f} s; the file is cut "
            "short or damaged, copy or record it again",
            "FILE_CORRUPT",
        )


class _DecordReader:
    """Frames by index through decord, which keeps its own index."""

    def __init__(self, path: str, width: int, height: int) -> None:
        import decord  # optional, and slow to load

        decord.logging.set_level(decord.logging.ERROR)
        self._video: Any = decord.VideoReader(path, width=width, height=height, num_threads=1)
        self.num_frames = len(self._video)

    def pixels(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        # Not in batches: decord pads the rows of some widths (96, for one), and they then fail.
        pixels: np.ndarray = self._video[index].asnumpy()
        height, width, _ = pixels.shape
        return pixels.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)
