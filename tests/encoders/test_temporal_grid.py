"""Grids are sized and cut up as transformers does, but each on its own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as hf_qwen
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig

from encoders import EncoderError, Frame
from encoders.images import ImageTransform
from encoders.preprocessor_config import PreprocessorConfig
from encoders.temporal_grid import (
    MAX_GRID_TOKENS,
    GridTransform,
    PixelLimits,
    grid_positions,
    smart_resize,
)

LIMITS = PixelLimits(56 * 56, 28 * 28 * 64)


def frame(height, width, seed=0):
    random = np.random.default_rng([seed, height, width])
    return Frame(random.integers(0, 256, (height, width, 3), dtype=np.uint8), float(seed), 0.0)


def grid_transform(limits=LIMITS):
    config = PreprocessorConfig(
        path="config",
        resample=3,
        rescale_factor=1 / 255,
        image_mean=(0.48, 0.46, 0.41),
        image_std=(0.27, 0.26, 0.28),
        size={},
        max_image_size={},
    )
    transform = ImageTransform(config, torch.device("cpu"))
    return GridTransform(transform, Qwen2VLVisionConfig(), limits)


@given(st.integers(10, 3000), st.integers(10, 3000), st.sampled_from([28, 32]))
def test_the_size_rule_is_that_of_transformers(height, width, factor):
    limits = PixelLimits(factor**2 * 4, factor**2 * 256)
    if max(height, width) / min(height, width) > 200:
        with pytest.raises(EncoderError, match="too narrow"):
            smart_resize((height, width), factor, limits)
    else:
        theirs = hf_qwen.smart_resize(height, width, factor, limits.least, limits.most)
        assert smart_resize((height, width), factor, limits) == theirs


@pytest.mark.parametrize("size", [(90, 120), (67, 120), (30, 41), (400, 700)])
def test_patches_equal_those_of_the_pillow_processor(size):
    processor = hf_qwen.Qwen2VLImageProcessorPil(
        size={"shortest_edge": LIMITS.least, "longest_edge": LIMITS.most},
        image_mean=[0.48, 0.46, 0.41],
        image_std=[0.27, 0.26, 0.28],
    )
    still = frame(*size)
    theirs = processor(still.pixels, return_tensors="pt")
    ours = grid_transform()([[still, still]])
    assert ours.shapes.tolist() == theirs.image_grid_thw.tolist()
    levels = (ours.patches - theirs.pixel_values).abs() * 255 * 0.26
    assert float(levels.max()) < 1.1, "one level of 255"
    assert float((levels > 0.5).float().mean()) < 0.02


def test_the_frames_of_a_grid_lie_one_after_the_other_in_a_patch():
    first, second = frame(56, 56, 0), frame(56, 56, 1)
    grids = grid_transform()
    both = grids([[first, second]]).patches.view(-1, 3, 2, 14, 14)
    assert torch.equal(both[:, :, 0], grids([[first, first]]).patches.view_as(both)[:, :, 0])
    assert torch.equal(both[:, :, 1], grids([[second, second]]).patches.view_as(both)[:, :, 1])


def test_a_grid_is_the_same_whatever_else_is_encoded():
    groups = [[frame(90, 120, 0), frame(90, 120, 1)], [frame(200, 80, 2), frame(200, 80, 3)]]
    grids = grid_transform()
    packed = grids(groups)
    alone = [grids([group]) for group in groups]
    assert torch.equal(packed.patches, torch.cat([one.patches for one in alone]))
    assert torch.equal(packed.shapes, torch.cat([one.shapes for one in alone]))


def test_a_short_group_is_filled_up_with_its_last_frame():
    only = frame(90, 120)
    grids = grid_transform()
    assert torch.equal(grids([[only]]).patches, grids([[only, only]]).patches)


def test_a_change_of_size_within_a_grid_keeps_the_first_frames_size():
    grids = grid_transform()
    assert grids([[frame(112, 56), frame(56, 112)]]).shapes.tolist() == [[1, 8, 4]]


def test_published_limits_are_cut_down_to_what_a_stream_can_keep():
    grids = grid_transform(PixelLimits(56 * 56, 28 * 28 * 16384))
    rows, columns = grids([[frame(1080, 1920)]]).shapes[0, 1:].tolist()
    assert MAX_GRID_TOKENS / 2 < rows * columns / 4 <= MAX_GRID_TOKENS


def test_positions_of_a_grid_are_in_reading_order():
    assert grid_positions(2, 3).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 1, 2, 0, 1, 2],
    ]
