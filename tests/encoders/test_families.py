"""Blocks hold what transformers computes for the whole video, frame by frame or grid by grid."""

import copy
import json
from itertools import product

import numpy as np
import pytest
import torch
from tiny_checkpoints import (
    VIDEO_FAMILIES,
    save_tiny_checkpoint,
    save_tiny_files,
    tiny_family,
    tiny_model,
)
from token_ids import ids_of
from transformers import AutoModelForImageTextToText
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from video_frames import frames_of, groups_of

from encoders import Frame, UnsupportedModelError, make_family

MEAN_STD = {
    "qwen2_5_vl": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
}
SIDES = {"llava_onevision": 56, "qwen2_5_vl": 112, "qwen3_vl": 128, "smolvlm": 32, "embedded": 96}
"""Frames of this size need no resizing."""
PATCHES = {"qwen2_5_vl": 14, "qwen3_vl": 16}


def made(name, sample_fps=1.0):
    model = tiny_model(name)
    return model, tiny_family(name, model, sample_fps)


@pytest.fixture(scope="module", params=VIDEO_FAMILIES)
def pair(request):
    return made(request.param)


def visual(blocks):
    return torch.cat([block.embeddings[block.is_visual] for block in blocks])


def pixels_of(name, frames):
    mean, std = MEAN_STD.get(name, ((0.5,) * 3, (0.5,) * 3))
    levels = torch.from_numpy(np.stack([f.pixels for f in frames])).permute(0, 3, 1, 2) / 255
    return (levels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def patches_of(pixels, patch):
    """Patch by patch, as the tower reads them: grid, then 2 x 2 groups in reading order."""
    side = pixels.shape[-1] // patch
    patches = []
    for pair_of_frames in pixels.split(2):
        cut = pair_of_frames.transpose(0, 1).unfold(2, patch, patch).unfold(3, patch, patch)
        for row, column in product(range(0, side, 2), repeat=2):
            for down, right in product(range(2), repeat=2):
                patches.append(cut[:, :, row + down, column + right].flatten())
    return torch.stack(patches), torch.tensor([[len(pixels) // 2, side, side]])


@torch.no_grad()
def features_of_whole_video(name, model, frames):
    """What transformers computes in one call."""
    pixels = pixels_of(name, frames)
    if name in PATCHES:
        return model.get_video_features(*patches_of(pixels, PATCHES[name]))
    if name == "llava_onevision":
        return model.get_video_features(pixels[None])
    return model.get_image_features(pixels[None])


def test_visual_tokens_are_those_of_the_whole_video(pair):
    model, family = pair
    frames = frames_of(6, (SIDES[family.name],) * 2)
    ours = visual(family.encode(groups_of(family, frames)))
    theirs = torch.cat(list(features_of_whole_video(family.name, model, frames).pooler_output))
    if family.name == "llava_onevision":
        theirs = theirs[: len(ours)]  # image_newline may follow
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_deepstack_features_are_those_of_the_whole_video():
    model, family = made("qwen3_vl")
    frames = frames_of(6, (128, 128))
    ours = torch.cat([b.deepstack for b in family.encode(groups_of(family, frames))], dim=1)
    theirs = features_of_whole_video("qwen3_vl", model, frames).deepstack_features
    theirs = torch.stack([f.view(-1, 64) if isinstance(f, torch.Tensor) else f[0] for f in theirs])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def assert_same_block(one, other):
    for field in ("embeddings", "deepstack"):
        ours, others = getattr(one, field), getattr(other, field)
        assert (ours is None) == (others is None)
        if ours is not None:
            torch.testing.assert_close(ours, others, rtol=0, atol=1e-5)
    for field in ("positions", "advance", "is_visual"):
        assert torch.equal(getattr(one, field), getattr(other, field))
    assert (one.start_s, one.end_s) == (other.start_s, other.end_s)


def test_a_block_does_not_depend_on_what_it_is_encoded_with(pair):
    _, family = pair
    frames = [*frames_of(4), *frames_of(4, (96, 40), start_s=4.0)]
    grey = np.full((96, 40, 3), 127, np.uint8)
    frames += [Frame(grey, 8.0 + i, 0.0) for i in range(family.frames_per_block)]
    groups = groups_of(family, frames)
    together = family.encode(groups)
    assert len(together) == len(groups)
    for block, group in zip(together, groups, strict=True):
        assert_same_block(block, family.encode([group])[0])


def family_with(name, model, directory, **preprocessor):
    """The family of a tiny checkpoint whose preprocessor settings were changed."""
    model.config.save_pretrained(directory)
    save_tiny_files(name, directory)
    for path in directory.glob("*preprocessor_config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **preprocessor}))
    return make_family(model, directory, 1.0)


@pytest.mark.parametrize(("side", "scale"), [(12, 4), (27, 3), (32, 4)])
def test_patches_of_smolvlm_take_the_places_that_transformers_gives_them(side, scale, tmp_path):
    config = copy.deepcopy(tiny_model("smolvlm").config)
    config.vision_config.image_size, config.scale_factor = 8 * side, scale
    model = AutoModelForImageTextToText.from_config(config)
    edge = {"longest_edge": 8 * side}
    family = family_with(
        "smolvlm", model, tmp_path, max_image_size=edge, video_sampling={"video_size": edge}
    )
    frames = frames_of(1, (8 * side,) * 2)
    with torch.no_grad():
        theirs = model.get_image_features(pixels_of("smolvlm", frames)[None]).pooler_output[0]
    torch.testing.assert_close(visual(family.encode([frames])), theirs, rtol=0, atol=1e-5)


def test_a_frame_whose_pixels_normalise_to_zero_is_encoded_like_any_other(tmp_path):
    """get_image_features takes it for padding, and drops it from a batch."""
    model = tiny_model("smolvlm")
    family = family_with("smolvlm", model, tmp_path, image_mean=[0.0] * 3)
    black, white = (np.full((32, 32, 3), level, np.uint8) for level in (0, 255))
    blocks = family.encode([[Frame(p, 0.0, 0.0)] for p in (white, black, white)])
    assert [int(b.is_visual.sum()) for b in blocks] == [4, 4, 4]
    with torch.no_grad():
        alone = model.get_image_features(torch.zeros(1, 1, 3, 32, 32)).pooler_output[0]
        batch = model.get_image_features(
            torch.stack([torch.zeros(3, 32, 32), torch.ones(3, 32, 32)])[None]
        )
    assert len(torch.cat(list(batch.pooler_output))) == 4, "or the test is about nothing"
    torch.testing.assert_close(visual(blocks[1:2]), alone, rtol=0, atol=1e-6)


def test_blocks_follow_the_models_dtype(pair):
    model, family = pair
    half = copy.deepcopy(model).to(torch.bfloat16)
    in_half = tiny_family(family.name, half)
    groups = groups_of(family, frames_of(2 * family.frames_per_block))
    for block, wanted in zip(in_half.encode(groups), family.encode(groups), strict=True):
        assert block.embeddings.dtype == torch.bfloat16
        torch.testing.assert_close(block.embeddings.float(), wanted.embeddings, rtol=0.1, atol=0.05)
    assert in_half.question("what?").embeddings.dtype == torch.bfloat16
    assert in_half.prefix().embeddings.dtype == torch.bfloat16


def test_blocks_fit_their_own_description(pair):
    model, family = pair
    axes = 3 if family.name.startswith("qwen") else 1
    blocks = family.encode(groups_of(family, frames_of(4, start_s=7.0)))
    assert len(blocks) == 4 // family.frames_per_block
    assert [b.start_s for b in blocks] == [
        7.0 + i * family.frames_per_block for i in range(len(blocks))
    ]
    for block in blocks:
        tokens = len(block.embeddings)
        assert block.positions.shape == (axes, tokens)
        assert block.advance.shape == (axes,)
        assert block.is_visual.shape == (tokens,)
        assert block.end_s == block.start_s + family.frames_per_block - 1
        assert block.positions.min() == 0
        assert not block.embeddings.requires_grad
        is_word = torch.tensor([i >= 0 for i in ids_of(model, block.embeddings)])
        assert torch.equal(is_word, ~block.is_visual), "text is words, the rest is not"


def test_llava_onevision_has_196_tokens_a_frame_at_its_true_shape(tmp_path):
    config = copy.deepcopy(tiny_model("llava_onevision").config)
    config.vision_config.image_size = 384
    model = AutoModelForImageTextToText.from_config(config)
    size = {"height": 384, "width": 384}
    family = family_with("llava_onevision", model, tmp_path, size=size)
    assert len(family.encode([frames_of(1)])[0].embeddings) == 196


@pytest.mark.parametrize("size", [(90, 160), (40, 64)])
def test_a_frame_that_smolvlm_resizes_is_seen_as_by_its_image_processor(size):
    model, family = made("smolvlm")
    picture = frames_of(1, size)[0].pixels
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": 32},
        max_image_size={"longest_edge": 32},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_image_splitting=False,
    )
    pixels = processor(picture, return_tensors="pt").pixel_values
    with torch.no_grad():
        theirs = model.get_image_features(pixels).pooler_output[0]
    ours = visual(family.encode([[Frame(picture, 0.0, 0.0)]]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-3)  # a level or two in a pixel


def test_a_saved_checkpoint_loads_and_encodes_the_same(pair, tmp_path):
    _, family = pair
    directory = save_tiny_checkpoint(family.name, tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    again = make_family(loaded, directory, sample_fps=1.0)
    assert again.name == family.name
    groups = groups_of(family, frames_of(2))
    for one, other in zip(again.encode(groups), family.encode(groups), strict=True):
        assert_same_block(one, other)
    assert torch.equal(again.question("what?").embeddings, family.question("what?").embeddings)
    assert again.stop_ids == family.stop_ids


def test_a_text_only_model_is_refused(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"no vision tower.*embedded, llava_onevision"):
        make_family(tiny_model("llama"), tmp_path, 1.0)


def test_an_unknown_family_is_refused_with_the_known_ones(tmp_path):
    model = tiny_model("smolvlm")
    model.config.vstream_family = "other"
    with pytest.raises(UnsupportedModelError, match=r"known for other.*qwen2_5_vl, qwen3_vl, smol"):
        make_family(model, tmp_path, 1.0)


def test_the_same_seed_makes_the_same_model():
    one, same, other = (tiny_model("smolvlm", seed) for seed in (3, 3, 4))
    pairs = zip(one.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
