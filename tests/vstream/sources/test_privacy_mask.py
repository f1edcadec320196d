"""PrivacyMask: black inside, untouched outside, whatever the polygon and the picture's size."""

import cmath
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from synthetic_video import lay_on_its_side, write_video

from vstream.sources import PrivacyMask, SourceConfig, open_source
from vstream.sources.privacy_mask import EDGE_PX

share = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
polygons = st.lists(st.tuples(share, share), min_size=3, max_size=8)
sides = st.integers(1, 24)
RIGHT = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


def distance_px(point, corners):
    """From a point to the nearest edge."""
    nearest = math.inf
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        along = end - start
        at = 0.0
        if length2 := abs(along) ** 2:
            at = min(1.0, max(0.0, ((point - start) * along.conjugate()).real / length2))
        nearest = min(nearest, abs(point - start - at * along))
    return nearest


def is_wound_around(point, corners):
    """By adding up the angles under which the edges are seen."""
    turned = sum(
        cmath.phase((end - point) / (start - point))
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True)
    )
    return round(turned / (2 * math.pi)) != 0


@given(st.lists(polygons, min_size=1, max_size=2), sides, sides)
def test_inside_all_is_black_and_outside_nothing_is_changed(outlines, width, height):
    pixels = np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8)
    before = pixels.copy()
    masked = PrivacyMask(polygons=outlines).apply(pixels)
    assert np.array_equal(pixels, before)
    corners = [[complex(x * width, y * height) for x, y in outline] for outline in outlines]
    for y in range(height):
        for x in range(width):
            middle = complex(x + 0.5, y + 0.5)
            edge_px = min(distance_px(middle, outline) for outline in corners)
            if abs(edge_px - EDGE_PX) < 1e-6:
                continue  # either is right
            if edge_px < EDGE_PX or any(is_wound_around(middle, outline) for outline in corners):
                assert not masked[y, x].any()
            else:
                assert np.array_equal(masked[y, x], before[y, x])


def test_a_mask_fits_every_picture_size_and_no_polygon_hides_nothing():
    mask = PrivacyMask(polygons=[RIGHT])
    for width in (10, 40, 10):
        row = mask.apply(np.full((4, width, 3), 9, np.uint8))[0, :, 0]
        assert row.tolist() == [9] * (width // 2 - 1) + [0] * (width // 2 + 1)
    pixels = np.full((4, 4, 3), 9, np.uint8)
    assert np.array_equal(PrivacyMask(polygons=[]).apply(pixels), pixels)


@pytest.mark.parametrize(
    "outlines",
    [
        [[(0, 0), (1, 1)]],
        [[(0, 0), (1, 1), (0.5, 1.01)]],
        [[(0, 0), (1, 1), (0.5, -0.01)]],
        [[(0, 0), (1, 1), (0.5, math.nan)]],
        [[(0, 0)] * 65],
        [RIGHT] * 33,
    ],
    ids=["two points", "above one", "below zero", "nan", "too many points", "too many polygons"],
)
def test_what_is_no_mask_is_refused(outlines):
    with pytest.raises(ValidationError):
        PrivacyMask(polygons=outlines)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("speed", ["max", 1])
def test_no_frame_leaves_a_source_unmasked(tmp_path, turned, speed):
    path = write_video(tmp_path / "clip.mp4", num_frames=5)
    if turned:
        lay_on_its_side(path)
    mask, config = PrivacyMask(polygons=[RIGHT]), SourceConfig(max_side=64, queue_frames=64)
    with open_source(str(path), config) as source:
        plain = [frame.pixels for frame in source]
    with open_source(str(path), config, mask=mask, speed=speed) as source:
        masked = [frame.pixels for frame in source]
    assert len(masked) == 5
    for before, after in zip(plain, masked, strict=True):
        left = before.shape[1] // 2 - 1
        assert not after[:, left:].any()
        assert np.array_equal(after[:, :left], before[:, :left])
        assert before[:, left:].any()
