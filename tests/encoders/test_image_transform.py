"""Frames are prepared as transformers' own Pillow image processors prepare them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_checkpoints import save_tiny_files
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm import image_processing_pil_smolvlm as hf_smolvlm

from encoders import UnsupportedModelError
from encoders.images import ImageTransform, longest_edge_size, resize, resize_in_float
from encoders.preprocessor_config import PreprocessorConfig

CPU = torch.device("cpu")
SIZES = [(90, 120), (67, 120), (30, 41), (333, 500)]
"""Not taller than wide: for those, Pillow's versions disagree on which side to resize first."""


def picture(height, width, seed=0):
    """Smooth shapes, sharp edges and noise: what resizing filters disagree about."""
    random = np.random.default_rng([seed, height, width])
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 127 + 120 * (np.sin(rows / 9) * np.cos(columns / 5))[..., None]
    pixels = np.repeat(waves, 3, axis=2) + random.normal(0, 20, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (255, 0, 40)
    return pixels.clip(0, 255).astype(np.uint8)


def config(**changes):
    values = {
        "path": "config",
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": (0.48, 0.46, 0.41),
        "image_std": (0.27, 0.26, 0.28),
        "size": {"height": 40, "width": 56},
        "max_image_size": {},
    }
    return PreprocessorConfig(**{**values, **changes})


def assert_within_one_level(ours, theirs, std):
    """At most one level of 255 apart anywhere, and that in few pixels."""
    assert ours.shape == theirs.shape
    levels = (ours - theirs).abs() * 255 * torch.tensor(std)[:, None, None]
    assert float(levels.max()) < 1.01
    assert float((levels > 0.5).float().mean()) < 0.02


@pytest.mark.parametrize("resample", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_a_fixed_size_equals_the_pillow_processor(size, resample):
    settings = config(resample=resample)
    processor = SiglipImageProcessorPil(
        size=dict(settings.size),
        resample=resample,
        image_mean=list(settings.image_mean),
        image_std=list(settings.image_std),
    )
    frame = picture(*size)
    theirs = processor(frame, return_tensors="pt").pixel_values[0]
    ours = ImageTransform(settings, CPU)(frame, [(40, 56)])
    assert_within_one_level(ours, theirs, settings.image_std)


@pytest.mark.parametrize("size", SIZES)
def test_smolvlm_resizes_twice_as_its_pillow_processor_does(size):
    settings = config(resample=1, image_mean=(0.5,) * 3, image_std=(0.5,) * 3)
    processor = hf_smolvlm.SmolVLMImageProcessorPil(
        size={"longest_edge": 64},
        max_image_size={"longest_edge": 48},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_image_splitting=False,
    )
    frame = picture(*size)
    theirs = processor(frame, return_tensors="pt").pixel_values[0, 0]
    ours = ImageTransform(settings, CPU)(frame, [longest_edge_size(size, 64), (48, 48)])
    levels = (ours - theirs).abs() * 255 * 0.5
    assert float(levels.max()) < 2.01, "one level for each of the two resizes"
    assert float((levels > 0.5).float().mean()) < 0.02


@given(st.integers(8, 3000), st.integers(8, 3000), st.integers(16, 5000))
def test_the_longest_edge_rule_is_that_of_transformers(height, width, edge):
    theirs = hf_smolvlm.get_resize_output_image_size(np.empty((3, height, width)), min(edge, 4096))
    assert longest_edge_size((height, width), edge) == theirs


@pytest.mark.parametrize("resample", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_resizing_in_float_as_on_a_gpu_equals_pillow(size, resample):
    frame = picture(*size)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
    ours = resize_in_float(pixels, (40, 56), resample)[0].permute(1, 2, 0).numpy()
    theirs = np.asarray(Image.fromarray(frame).resize((56, 40), resample))
    levels = np.abs(ours.astype(int) - theirs)
    assert levels.max() <= 1
    assert (levels > 0).mean() < 0.02


def test_a_tall_frame_is_within_one_level_where_nothing_overshoots():
    frame = picture(120, 67)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
    ours = resize(pixels, (40, 56), 2)[0].permute(1, 2, 0).numpy()
    theirs = np.asarray(Image.fromarray(frame).resize((56, 40), 2))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_frame_of_the_right_size_is_only_normalised():
    frame = picture(40, 56)
    ours = ImageTransform(config(), CPU)(frame, [(40, 56)])
    levels = torch.from_numpy(frame).permute(2, 0, 1) / 255
    wanted = (levels - torch.tensor((0.48, 0.46, 0.41))[:, None, None]) / torch.tensor(
        (0.27, 0.26, 0.28)
    )[:, None, None]
    torch.testing.assert_close(ours, wanted)


def test_a_mirrored_view_of_a_frame_is_taken_as_it_looks():
    frame = picture(40, 56)
    transform = ImageTransform(config(), CPU)
    mirrored = transform(frame[:, ::-1], [(40, 56)])
    assert torch.equal(mirrored, transform(frame, [(40, 56)]).flip(-1))


def test_an_unknown_filter_is_refused_by_name():
    with pytest.raises(UnsupportedModelError, match="resample 5 is not supported"):
        ImageTransform(config(resample=5), CPU)


def test_video_settings_come_before_image_settings(tmp_path):
    save_tiny_files("qwen3_vl", tmp_path)
    assert PreprocessorConfig.read(tmp_path).edge("shortest_edge") == 4096
    (tmp_path / "video_preprocessor_config.json").unlink()
    assert PreprocessorConfig.read(tmp_path).edge("shortest_edge") == 65536


def test_settings_nested_in_the_processor_config_are_found(tmp_path):
    save_tiny_files("llava_onevision", tmp_path)
    flat = PreprocessorConfig.read(tmp_path)
    values = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        (tmp_path / name).unlink()
    nested = {"processor_class": "X", "video_processor": values}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    found = PreprocessorConfig.read(tmp_path)
    assert (found.size, found.image_mean, found.resample) == (
        flat.size,
        flat.image_mean,
        flat.resample,
    )


def test_the_size_for_video_comes_before_the_size_for_images(tmp_path):
    save_tiny_files("smolvlm", tmp_path)
    settings = PreprocessorConfig.read(tmp_path)
    assert settings.edge("longest_edge") == 32
    assert settings.max_image_size == {"longest_edge": 32}


def test_missing_settings_are_named(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"video_preprocessor_config\.json"):
        PreprocessorConfig.read(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 4}, "resample": 3}')
    with pytest.raises(UnsupportedModelError, match=r"preprocessor_config\.json has no 'image_me"):
        PreprocessorConfig.read(tmp_path)
    with pytest.raises(UnsupportedModelError, match="wanted a size with longest_edge"):
        config().edge("longest_edge")
