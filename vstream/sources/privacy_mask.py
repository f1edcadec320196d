"""PrivacyMask: blackens the insides of polygons in a picture.

Pillow's polygons leave out up to a row of pixels along the edges, so the mask is drawn here: by the
winding number of each pixel's centre, and by its distance from each edge.
"""

from functools import lru_cache
from itertools import pairwise
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Int, UInt8
from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = tuple[Share, Share]
"""x from the left, y from the top, as fractions of the upright picture's width and height."""
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=64)]

EDGE_PX = 1.0
"""Pixels whose centre is this near an edge are masked too: scaling has mixed both sides there."""


class PrivacyMask(BaseModel):
    """What no one may see of a camera's picture. All that a polygon winds around is its inside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    polygons: Annotated[tuple[Polygon, ...], Field(max_length=32)]

    def apply(
        self, pixels: UInt8[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Return a copy that is black inside the polygons."""
        height, width, _ = pixels.shape
        masked: np.ndarray = pixels * _visible(self.polygons, height, width)
        return masked


@lru_cache(maxsize=64)  # cameras, each with its picture size
def _visible(
    polygons: tuple[tuple[Point, ...], ...], height: int, width: int
) -> Bool[np.ndarray, "height width 1"]:
    masked = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        corners = [(x * width, y * height) for x, y in polygon]
        windings = np.zeros((height, width), dtype=int)
        for start, end in pairwise([*corners, corners[0]]):
            _wind(windings, start, end)
            _mark_edge(masked, start, end)
        masked |= windings != 0
    return ~masked[:, :, None]


def _wind(
    windings: Int[np.ndarray, "height width"], start: tuple[float, float], end: tuple[float, float]
) -> None:
    (left_x, top_y), (right_x, bottom_y) = sorted((start, end), key=lambda point: point[1])
    rows = np.arange(np.ceil(top_y - 0.5), np.ceil(bottom_y - 0.5), dtype=int)
    if rows.size:
        crossings = left_x + (right_x - left_x) * (rows + 0.5 - top_y) / (bottom_y - top_y)
        to_the_left = np.arange(windings.shape[1]) + 0.5 < crossings[:, None]
        windings[rows] += to_the_left if start[1] < end[1] else -to_the_left.astype(int)


def _mark_edge(
    masked: Bool[np.ndarray, "height width"], start: tuple[float, float], end: tuple[float, float]
) -> None:
    box = []
    for a, b in zip(start, end, strict=True):
        box.append(slice(max(0, int(min(a, b) - EDGE_PX - 0.5)), int(max(a, b) + EDGE_PX + 0.5)))
    part = masked[box[1], box[0]]  # as a view
    x = np.arange(part.shape[1]) + (box[0].start + 0.5 - start[0])
    y = np.arange(part.shape[0])[:, None] + (box[1].start + 0.5 - start[1])
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    length2 = along_x**2 + along_y**2
    at = np.clip((x * along_x + y * along_y) / length2, 0, 1) if length2 else 0.0
    part |= np.hypot(x - at * along_x, y - at * along_y) <= EDGE_PX
