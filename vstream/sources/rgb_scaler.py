"""RgbScaler: turns a decoded picture into upright, masked RGB pixels of bounded size."""

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

from vstream.sources.privacy_mask import PrivacyMask


class RgbScaler:
    """One pass of swscale, for one thread. Every source uses it, so none bypasses the `mask`."""

    def __init__(self, max_side: int | None, mask: PrivacyMask | None = None) -> None:
        self._max_side = max_side
        self._mask = mask
        self._reformatter = VideoReformatter()  # keeps its tables while the picture size stays

    def pixels(self, picture: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        """Return the pixels, turned as the rotation tag asks, in memory of their own."""
        width, height = scaled_size(picture.width, picture.height, self._max_side)
        rgb = self._reformatter.reformat(
            picture, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1
        )
        pixels: np.ndarray = rgb.to_ndarray()
        if picture.rotation % 360:  # anticlockwise, a multiple of 90
            pixels = np.ascontiguousarray(np.rot90(pixels, picture.rotation // 90))
        return pixels if self._mask is None else self._mask.apply(pixels)


def scaled_size(width: int, height: int, max_side: int | None) -> tuple[int, int]:
    """Return width and height with the longer side at most `max_side`; never larger than before."""
    if max_side is None or max(width, height) <= max_side:
        return width, height
    scale = max_side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
