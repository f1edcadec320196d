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
from tiny_tokenizer import tiny_tokenizer
from token_ids import ids_of
from transformers import AutoModelForImageTextToText
from transformers.models.smolvlm import processing_smolvlm as hf_smolvlm

from encoders import Frame, UnsupportedModelError, make_family
from encoders.embedded import time_words

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


def frames_of(count, size=(48, 64), start_s=0.0, step_s=1.0):
    random = np.random.default_rng([count, *size])
    pictures = random.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [Frame(p, start_s + i * step_s, 0.0) for i, p in enumerate(pictures)]


def groups_of(family, frames):
    size = family.frames_per_block
    return [frames[i : i + size] for i in range(0, len(frames), size)]


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
    theirs = features_of_whole_video(family.name, model, frames).pooler_output
    theirs = theirs[0] if family.name != "smolvlm" else torch.cat(list(theirs))
    if family.name == "llava_onevision":
        theirs = theirs[:-1]  # image_newline
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_deepstack_features_are_those_of_the_whole_video():
    model, family = made("qwen3_vl")
    frames = frames_of(6, (128, 128))
    ours = torch.cat([b.deepstack for b in family.encode(groups_of(family, frames))], dim=1)
    theirs = features_of_whole_video("qwen3_vl", model, frames).deepstack_features
    torch.testing.assert_close(ours, torch.stack([f[0] for f in theirs]), rtol=0, atol=1e-5)


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
    blocks = family.encode(groups_of(family, frames_of(4, start_s=7.0)))
    assert len(blocks) == 4 // family.frames_per_block
    assert [b.start_s for b in blocks] == [
        7.0 + i * family.frames_per_block for i in range(len(blocks))
    ]
    for block in blocks:
        tokens = len(block.embeddings)
        assert block.positions.shape == (family.num_axes, tokens)
        assert block.advance.shape == (family.num_axes,)
        assert block.is_visual.shape == (tokens,)
        assert block.end_s == block.start_s + family.frames_per_block - 1
        assert block.positions.min() == 0
        assert not block.embeddings.requires_grad
        is_word = torch.tensor([i >= 0 for i in ids_of(model, block.embeddings)])
        assert torch.equal(is_word, ~block.is_visual), "text is words, the rest is not"


def test_families_with_one_axis_advance_by_their_tokens():
    for name in ("llava_onevision", "smolvlm", "embedded"):
        _, family = made(name)
        (block,) = family.encode([frames_of(1)])
        assert block.positions.tolist() == [list(range(len(block.embeddings)))]
        assert block.advance.tolist() == [len(block.embeddings)]


def test_llava_onevision_has_196_tokens_a_frame_at_its_true_shape(tmp_path):
    config = copy.deepcopy(tiny_model("llava_onevision").config)
    config.vision_config.image_size = 384
    model = AutoModelForImageTextToText.from_config(config)
    size = {"height": 384, "width": 384}
    family = family_with("llava_onevision", model, tmp_path, size=size)
    assert len(family.encode([frames_of(1)])[0].embeddings) == 196


def text_before(model, name, block):
    first = int(block.is_visual.nonzero()[0])
    ids = ids_of(model, block.embeddings[:first])
    return tiny_tokenizer(name).decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("stream_s", "wanted"), [(0.0, "00:00"), (59.9, "00:59"), (754.2, "12:34"), (7500.0, "125:00")]
)
def test_smolvlm_lays_a_frame_out_as_transformers_does(stream_s, wanted):
    model, family = made("smolvlm")
    frame = Frame(np.zeros((40, 60, 3), np.uint8), stream_s, 0.0)
    (block,) = family.encode([[frame]])
    single = hf_smolvlm._prompt_single_image(
        4, "<fake_token_around_image>", "<image>", "<global-img>"
    )
    layout = hf_smolvlm.FRAME_TIMESTAMP_MESSAGE.format(timestamp=wanted) + single
    ids = tiny_tokenizer("smolvlm").encode(layout, add_special_tokens=False).ids
    image = model.config.image_token_id
    assert [image if i < 0 else i for i in ids_of(model, block.embeddings)] == ids
    assert [i == image for i in ids] == block.is_visual.tolist()


def test_qwen3_vl_times_a_grid_halfway_between_its_frames():
    model, family = made("qwen3_vl")
    frames = frames_of(4, start_s=99.0, step_s=0.5)
    first, second = family.encode(groups_of(family, frames))
    assert text_before(model, family.name, first) == "<99.2 seconds><|vision_start|>"
    assert text_before(model, family.name, second) == "<100.2 seconds><|vision_start|>"
    assert len(second.embeddings) == len(first.embeddings) + 1, "one digit more"
    for block in (first, second):
        assert ids_of(model, block.embeddings[-1:]) == [model.config.vision_end_token_id]


@pytest.mark.parametrize(
    ("stream_s", "wanted"),
    [(0.0, "0h00m00s"), (3725.9, "1h02m05s"), (86399.0, "23h59m59s"), (86400.0 + 61, "0h01m01s")],
)
def test_embedded_frames_open_with_three_time_words(stream_s, wanted):
    assert time_words(stream_s) == wanted
    model, family = made("embedded")
    (block,) = family.encode([[Frame(np.zeros((96, 96, 3), np.uint8), stream_s, 0.0)]])
    assert block.is_visual.tolist() == [False] * 3 + [True] * 9
    assert text_before(model, family.name, block) == wanted


def laid_out(family, blocks):
    """Positions of [prefix | blocks] by the families' own account."""
    width = len(family.prefix().embeddings)
    base = torch.full((3,), width)
    parts = [torch.arange(width).expand(3, -1)]
    for block in blocks:
        parts.append(base[:, None] + block.positions)
        base = base + block.advance
    return torch.cat(parts, dim=1), base


def rope_index(model, family, blocks, question, **more):
    """Positions that transformers gives to the same prompt."""
    ids, kinds = ids_of(model, family.prefix().embeddings), []
    for block in blocks:
        ids += ids_of(model, block.embeddings)
    kinds = [2 if i < 0 else 0 for i in ids]
    ids = [model.config.video_token_id if i < 0 else i for i in ids]
    after = ids_of(model, family.question(question).embeddings)
    positions, _ = model.model.get_rope_index(
        torch.tensor([ids + after]), torch.tensor([kinds + [0] * len(after)]), **more
    )
    return positions[:, 0], len(ids)


@pytest.mark.parametrize(
    ("size", "patches"), [((64, 64), (4, 4)), ((96, 64), (6, 4)), ((64, 192), (4, 12))]
)
def test_positions_of_qwen3_vl_are_those_of_transformers(size, patches):
    model, family = made("qwen3_vl")
    blocks = family.encode(groups_of(family, frames_of(8, size, start_s=6.0)))
    shape = torch.tensor([[len(blocks), *patches]])
    wanted, before = rope_index(model, family, blocks, "what?", video_grid_thw=shape)
    ours, base = laid_out(family, blocks)
    assert torch.equal(ours, wanted[:, :before])
    assert torch.equal(base, wanted[:, before]), "text goes on where the last block ends"


@pytest.mark.parametrize(("sample_fps", "step"), [(1.0, 4), (2.0, 2), (0.5, 8)])
def test_frame_positions_of_qwen2_5_vl_are_those_of_transformers(sample_fps, step):
    model, family = made("qwen2_5_vl", sample_fps)
    blocks = family.encode(groups_of(family, frames_of(8, (112, 56))))
    shape = torch.tensor([[len(blocks), 8, 4]])
    seconds = torch.tensor([2 / sample_fps])
    wanted, before = rope_index(
        model, family, blocks, "what?", video_grid_thw=shape, second_per_grid_ts=seconds
    )
    ours, _ = laid_out(family, blocks)
    assert torch.equal(ours, wanted[:, :before])
    assert blocks[0].advance.tolist() == [step, 0, 0]


@pytest.mark.parametrize(("sample_fps", "step"), [(3.0, 1), (10.0, 1), (0.3, 13)])
def test_qwen2_5_vl_steps_are_whole_and_at_least_one(sample_fps, step):
    _, family = made("qwen2_5_vl", sample_fps)
    (block,) = family.encode([frames_of(2)])
    assert block.advance.tolist() == [step, 0, 0]


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
