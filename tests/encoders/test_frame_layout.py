"""Text around frames and positions of tokens are those that transformers gives a whole video."""

import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_family, tiny_model
from tiny_files import made_up_tokenizer
from token_ids import ids_of
from transformers.models.smolvlm import processing_smolvlm as hf_smolvlm
from video_frames import frames_of, groups_of

from encoders import Frame
from encoders.embedded import time_words


def made(name, sample_fps=1.0):
    model = tiny_model(name)
    return model, tiny_family(name, model, sample_fps)


def text_before(model, name, block):
    first = int(block.is_visual.nonzero()[0])
    ids = ids_of(model, block.embeddings[:first])
    return made_up_tokenizer(name).decode(ids, skip_special_tokens=False)


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
    ids = made_up_tokenizer("smolvlm").encode(layout, add_special_tokens=False).ids
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


@pytest.mark.parametrize(("sample_fps", "step"), [(3.0, 1), (10.0, 1), (0.7, 6)])
def test_qwen2_5_vl_steps_are_whole_and_at_least_one(sample_fps, step):
    _, family = made("qwen2_5_vl", sample_fps)
    (block,) = family.encode([frames_of(2)])
    assert block.advance.tolist() == [step, 0, 0]


def test_families_with_one_axis_advance_by_their_tokens():
    for name in ("llava_onevision", "smolvlm", "embedded"):
        _, family = made(name)
        (block,) = family.encode([frames_of(1)])
        assert block.positions.tolist() == [list(range(len(block.embeddings)))]
        assert block.advance.tolist() == [len(block.embeddings)]
