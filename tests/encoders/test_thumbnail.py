"""Thumbnails are small JPEGs of the right picture."""

import io

import numpy as np
import pytest
from PIL import Image

from encoders import Frame, thumbnail


def opened(pixels):
    return Image.open(io.BytesIO(thumbnail(Frame(pixels, 0.0, 0.0))))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((720, 1280), (320, 180)), ((1000, 500), (160, 320)), ((96, 80), (80, 96)), ((1, 9), (9, 1))],
)
def test_the_longest_side_is_at_most_320_pixels_and_the_shape_stays(shape, wanted):
    image = opened(np.zeros((*shape, 3), dtype=np.uint8))
    assert (image.format, image.size) == ("JPEG", wanted)


def test_colours_and_places_survive():
    pixels = np.zeros((512, 512, 3), dtype=np.uint8)
    pixels[:256, :, 0] = 255
    pixels[256:, :, 2] = 255
    image = np.asarray(opened(pixels)).astype(int)
    assert np.abs(image[10, 10] - (255, 0, 0)).max() < 12
    assert np.abs(image[-10, -10] - (0, 0, 255)).max() < 12
