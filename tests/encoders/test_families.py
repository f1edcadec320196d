"""Blocks hold what transformers computes for the whole video, frame by frame or grid by grid."""

import copy
from pkgutil import iter_modules

import numpy as np
import pytest
import torch
from tiny_checkpoints import VIDEO_FAMILIES, made, save_tiny_checkpoint, tiny_family, tiny_model
from tiny_models import family_case
from token_ids import ids_of
from transformers import AutoModelForImageTextToText
from video_frames import frames_of, groups_of
from whole_video import features_of_whole_video, visual

import encoders.families
from encoders import Frame, UnsupportedModelError
from vstream.models.families import make_family


@pytest.fixture(scope="module", params=VIDEO_FAMILIES)
def pair(request):
    return made(request.param)


def test_visual_tokens_are_those_of_the_whole_video(pair):
    model, family = pair
    frames = frames_of(6, (family_case(family.name).side,) * 2)
    ours = visual(family.encode(groups_of(family, frames)))
    theirs = torch.cat(list(features_of_whole_video(family.name, model, frames).pooler_output))
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
    case = family_case(family.name)
    assert family.frames_per_block == case.frames_per_block
    blocks = family.encode(groups_of(family, frames_of(4, start_s=7.0)))
    assert len(blocks) == 4 // family.frames_per_block
    assert [b.start_s for b in blocks] == [
        7.0 + i * family.frames_per_block for i in range(len(blocks))
    ]
    for block in blocks:
        tokens = len(block.embeddings)
        assert block.positions.shape == (case.axes, tokens)
        assert block.advance.shape == (case.axes,)
        assert block.is_visual.shape == (tokens,)
        assert block.end_s == block.start_s + family.frames_per_block - 1
        assert block.positions.min() == 0
        assert not block.embeddings.requires_grad
        is_word = torch.tensor([i >= 0 for i in ids_of(model, block.embeddings)])
        assert torch.equal(is_word, ~block.is_visual), "text is words, the rest is not"
        if case.axes == 1:
            assert block.positions.tolist() == [list(range(tokens))]
            assert block.advance.tolist() == [tokens]


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


def test_every_family_has_a_test_file():
    ours = {found.name for found in iter_modules(encoders.families.__path__)}
    assert {*VIDEO_FAMILIES, "family", "text"} == ours  # tests/vstream/test_text.py


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
