"""Qwen3-VL: its tiny checkpoint, its golden prompt, its times and its DeepStack features."""

import pytest
import torch
from family_case import FamilyCase
from qwen_grids import laid_out, patches_of, rope_index
from tiny_checkpoints import made
from token_ids import ids_of, text_before
from transformers import AutoConfig
from video_frames import frames_of, groups_of
from whole_video import features_of_whole_video

from eval.random_model.checkpoint_files import qwen3_vl_files

FILES = qwen3_vl_files()


def config(decoder):
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True}
    return AutoConfig.for_model(
        "qwen3_vl",
        text_config={**decoder, "rope_parameters": {**rope, "mrope_section": [4, 2, 2]}},
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 16,
            "num_position_embeddings": 16,
            "out_hidden_size": decoder["hidden_size"],
            "deepstack_visual_indexes": [0, 1],
        },
        **FILES.config,
    )


CASE = FamilyCase(
    files=FILES,
    config=config,
    whole_video=lambda model, pixels: model.get_video_features(*patches_of(pixels, 16)),
    side=128,
    frames_per_block=2,
    axes=3,
    prefix="<|im_start|>user\n",
    question="{}<|im_end|>\n<|im_start|>assistant\n",
    answered="<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\n",
    with_system="<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n",
    video="<|vision_start|><|video_pad|><|vision_end|>",
    template=FILES.contents["chat_template.json"]["chat_template"],
)


def test_deepstack_features_are_those_of_the_whole_video():
    model, family = made("qwen3_vl")
    frames = frames_of(6, (128, 128))
    ours = torch.cat([b.deepstack for b in family.encode(groups_of(family, frames))], dim=1)
    theirs = features_of_whole_video("qwen3_vl", model, frames).deepstack_features
    theirs = torch.stack([f.view(-1, 64) if isinstance(f, torch.Tensor) else f[0] for f in theirs])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_grid_is_timed_halfway_between_its_frames():
    model, family = made("qwen3_vl")
    frames = frames_of(4, start_s=99.0, step_s=0.5)
    first, second = family.encode(groups_of(family, frames))
    tokenizer = FILES.tokenizer
    assert text_before(model, tokenizer, first) == "<99.2 seconds><|vision_start|>"
    assert text_before(model, tokenizer, second) == "<100.2 seconds><|vision_start|>"
    assert len(second.embeddings) == len(first.embeddings) + 1, "one digit more"
    for block in (first, second):
        assert ids_of(model, block.embeddings[-1:]) == [model.config.vision_end_token_id]


@pytest.mark.parametrize(
    ("size", "patches"), [((64, 64), (4, 4)), ((96, 64), (6, 4)), ((64, 192), (4, 12))]
)
def test_positions_are_those_of_transformers(size, patches):
    model, family = made("qwen3_vl")
    blocks = family.encode(groups_of(family, frames_of(8, size, start_s=6.0)))
    shape = torch.tensor([[len(blocks), *patches]])
    wanted, before = rope_index(model, family, blocks, "what?", video_grid_thw=shape)
    ours, base = laid_out(family, blocks)
    assert torch.equal(ours, wanted[:, :before])
    assert torch.equal(base, wanted[:, before]), "text goes on where the last block ends"
