"""Qwen2.5-VL: its tiny checkpoint, its golden prompt, and its time axis."""

import pytest
import torch
from family_case import FamilyCase
from qwen_grids import laid_out, patches_of, rope_index
from tiny_checkpoints import made
from transformers import AutoConfig
from video_frames import frames_of, groups_of

from eval.random_model.checkpoint_files import qwen2_5_vl_files

FILES = qwen2_5_vl_files()


def config(decoder):
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    return AutoConfig.for_model(
        "qwen2_5_vl",
        text_config={**decoder, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "out_hidden_size": decoder["hidden_size"],
            "tokens_per_second": 2,
        },
        **FILES.config,
    )


CASE = FamilyCase(
    files=FILES,
    config=config,
    whole_video=lambda model, pixels: model.get_video_features(*patches_of(pixels, 14)),
    side=112,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    frames_per_block=2,
    axes=3,
    prefix="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>",
    question="<|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n",
    answered="<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\n",
    with_system="<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n<|vision_start|>",
    video="<|video_pad|>",
)


@pytest.mark.parametrize(("sample_fps", "step"), [(1.0, 4), (2.0, 2), (0.5, 8)])
def test_positions_are_those_of_transformers(sample_fps, step):
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
def test_steps_are_whole_and_at_least_one(sample_fps, step):
    _, family = made("qwen2_5_vl", sample_fps)
    (block,) = family.encode([frames_of(2)])
    assert block.advance.tolist() == [step, 0, 0]
