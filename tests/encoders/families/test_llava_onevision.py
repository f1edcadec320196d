"""LLaVA-OneVision: its tiny checkpoint, its golden prompt, and what only it does."""

import copy

import torch
from family_case import FamilyCase
from tiny_checkpoints import family_with, made, tiny_model
from transformers import AutoConfig, AutoModelForImageTextToText
from video_frames import frames_of

from eval.random_model.checkpoint_files import llava_onevision_files

SIDE = 56
FILES = llava_onevision_files(SIDE)
TOKENS_PER_FRAME = 4


def config(decoder):
    return AutoConfig.for_model(
        "llava_onevision",
        text_config={"model_type": "qwen2", **decoder},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "image_size": SIDE,
            "patch_size": 14,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vision_use_head": False,
        },
        **FILES.config,
    )


def whole_video(model, pixels):
    output = model.get_video_features(pixels[None])
    # image_newline may follow
    output.pooler_output = output.pooler_output[:, : TOKENS_PER_FRAME * len(pixels)]
    return output


CASE = FamilyCase(
    files=FILES,
    config=config,
    whole_video=whole_video,
    side=SIDE,
    prefix="<|im_start|>user ",
    question="\n{}<|im_end|><|im_start|>assistant\n",
    answered="<|im_end|><|im_start|>assistant \n{}<|im_end|><|im_start|>user \n",
    with_system="<|im_start|>system \n{}<|im_end|><|im_start|>user ",
    video="<video>",
    rows_before_question=1,
)


def test_a_frame_has_196_tokens_at_its_true_shape(tmp_path):
    config = copy.deepcopy(tiny_model("llava_onevision").config)
    config.vision_config.image_size = 384
    model = AutoModelForImageTextToText.from_config(config)
    size = {"height": 384, "width": 384}
    family = family_with("llava_onevision", model, tmp_path, size=size)
    assert len(family.encode([frames_of(1)])[0].embeddings) == 196


def test_the_question_opens_with_image_newline():
    model, family = made("llava_onevision")
    text = family.question("what is the red cup?")
    assert torch.equal(text.embeddings[0], model.model.image_newline)
    assert not text.is_question[0]
