"""FrameSampler: chooses the frames to encode: a fixed rate, without near-duplicates.

Rate: stream time is cut into ticks of 1 / sample_fps seconds, and the first frame at or after each
tick is wanted. Ticks in a gap get no frames later.

Near-duplicates: a picture is compared with the last *kept* one, so slow changes add up. Both are
averaged down to 64 x 64 points; |difference| is averaged over each of 16 x 16 cells and each
colour, and the largest mean counts: so a small thing that enters a large still scene is noticed,
and sensor noise is not.
"""

import numpy as np
from jaxtyping import Float, Shaped

from encoders.frame import Frame

_POINTS = 64
_CELLS = 16
_ROUNDING_S = 1e-6


class FrameSampler:
    """Chooses frames by time and pixels only; `wants` and `keep` may run in separate threads."""

    def __init__(
        self,
        sample_fps: float,
        dedup_threshold: float = 1.5,
        max_gap_s: float = 60.0,
        *,
        after_s: float | None = None,
        early: float = 0.0,
    ) -> None:
        """`dedup_threshold` is in levels of 0 to 255; 0 keeps every frame.

        At least one frame every `max_gap_s` of stream time is kept, changed or not. `after_s`: the
        stream has already been sampled up to there. `early` is the fraction of a tick by which a
        frame may precede a tick and still count as its frame: a camera's key frames jitter around
        ticks.
        """
        self._sample_fps = sample_fps
        self._early = early
        self._dedup_threshold = dedup_threshold
        self._max_gap_s = max_gap_s
        self._last_tick = None if after_s is None else self._tick(after_s)
        self._kept_s: float | None = None
        self._kept_thumbnail: Float[np.ndarray, "rows columns 3"] | None = None
        self.num_seen = 0
        self.num_duplicates = 0

    def wants(self, stream_s: float) -> bool:
        """Return whether the rate wants the frame at `stream_s`. Call once per frame, in order."""
        tick = self._tick(stream_s)
        if self._last_tick is not None and tick <= self._last_tick:
            return False
        self._last_tick = tick
        return True

    def keep(self, frame: Frame) -> bool:
        """Return whether the picture differs from the last kept one. Call once per wanted frame."""
        self.num_seen += 1
        thumbnail = _block_means(frame.pixels, _POINTS)
        if self._repeats(frame.stream_s, thumbnail):
            self.num_duplicates += 1
            return False
        self._kept_s, self._kept_thumbnail = frame.stream_s, thumbnail
        return True

    def keep_next(self) -> None:
        """Keep the next frame whatever it shows: the last kept one is no longer in the memory."""
        self._kept_thumbnail = None

    def _repeats(self, stream_s: float, thumbnail: Float[np.ndarray, "rows columns 3"]) -> bool:
        kept = self._kept_thumbnail
        if kept is None or self._kept_s is None or kept.shape != thumbnail.shape:
            return False
        if stream_s - self._kept_s >= self._max_gap_s:
            return False
        change = _block_means(np.abs(thumbnail - kept), _CELLS).max()
        return bool(change < self._dedup_threshold)

    def _tick(self, stream_s: float) -> int:
        return int((stream_s + _ROUNDING_S) * self._sample_fps + self._early)


def _block_means(
    values: Shaped[np.ndarray, "height width 3"], num_blocks: int
) -> Float[np.ndarray, "rows columns 3"]:
    """Average over a grid of `num_blocks` rows and columns, or fewer if there are fewer values."""
    for axis in (0, 1):
        size = values.shape[axis]
        starts = np.arange(min(num_blocks, size)) * size // min(num_blocks, size)
        sums = np.add.reduceat(values, starts, axis=axis, dtype=np.float32)
        counts = np.diff(starts, append=size).astype(np.float32)
        values = sums / np.expand_dims(counts, axis=(1, 2) if axis == 0 else (0, 2))
    return values
