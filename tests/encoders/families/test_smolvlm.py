"""SmolVLM2: its tiny checkpoint, its golden prompt, and how frames are laid out and seen."""

import copy

import numpy as np
import pytest
import torch
from family_case import FamilyCase
from tiny_checkpoints import family_with, made, tiny_model
from tiny_smolvlm import tiny_smolvlm
from token_ids import ids_of
from transformers import AutoModelForImageTextToText
from transformers.models.smolvlm import processing_smolvlm as hf_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from video_frames import frames_of
from whole_video import pixels_of, visual

from encoders import Frame
from encoders.families.smolvlm import STREAM_INTRO
from eval.random_model.checkpoint_files import (
    CheckpointFiles,
    made_up_tokenizer,
    preprocessor,
    tokenizer_config,
)

_TEMPLATE = r"""
{{- "<|im_start|>" -}}
{%- for message in messages -%}
  {{- message.role | capitalize ~ (":" if message.content[0].type == "image" else ": ") -}}
  {%- for part in message.content -%}
    {{- part.text if part.type == "text" else "<" ~ part.type ~ ">" -}}
  {%- endfor -%}
  {{- "<end_of_utterance>\n" -}}
{%- endfor -%}
{{- "Assistant:" if add_generation_prompt -}}
"""
_TOKENIZER = made_up_tokenizer(
    [
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"),
        *("<global-img>", "<row_1_col_1>", "<end_of_utterance>"),
    ]
)
FILES = CheckpointFiles(
    _TOKENIZER,
    stops=["<end_of_utterance>"],
    contents={
        "tokenizer_config.json": tokenizer_config("GPT2Tokenizer", "<end_of_utterance>"),
        "chat_template.json": {"chat_template": _TEMPLATE},
        "preprocessor_config.json": preprocessor(
            1,
            {"longest_edge": 128},
            max_image_size={"longest_edge": 32},
            video_sampling={"video_size": {"longest_edge": 32}, "max_frames": 64, "fps": 1},
        ),
    },
    config={"image_token_id": _TOKENIZER.token_to_id("<image>")},
)
CASE = FamilyCase(
    files=FILES,
    config=lambda decoder: tiny_smolvlm(decoder, 32, 2, FILES.config),
    whole_video=lambda model, pixels: model.get_image_features(pixels[None]),
    side=32,
    prefix=f"<|im_start|>User: {STREAM_INTRO}",
    question="\n\n{}<end_of_utterance>\nAssistant:",
    answered="<end_of_utterance>\nAssistant: {}<end_of_utterance>\nUser: ",
    before_answer=" ",
    with_system=f"<|im_start|>System: {{}}<end_of_utterance>\nUser: {STREAM_INTRO}",
    video="<video>",
    around_video=(STREAM_INTRO, "\n\n"),
    template=hf_smolvlm.DEFAULT_CHAT_TEMPLATE,  # for videos it does not ask the checkpoint
)


@pytest.mark.parametrize(
    ("stream_s", "wanted"), [(0.0, "00:00"), (59.9, "00:59"), (754.2, "12:34"), (7500.0, "125:00")]
)
def test_a_frame_is_laid_out_as_transformers_does(stream_s, wanted):
    model, family = made("smolvlm")
    frame = Frame(np.zeros((40, 60, 3), np.uint8), stream_s, 0.0)
    (block,) = family.encode([[frame]])
    single = hf_smolvlm._prompt_single_image(
        4, "<fake_token_around_image>", "<image>", "<global-img>"
    )
    layout = hf_smolvlm.FRAME_TIMESTAMP_MESSAGE.format(timestamp=wanted) + single
    ids = FILES.tokenizer.encode(layout, add_special_tokens=False).ids
    image = model.config.image_token_id
    assert [image if i < 0 else i for i in ids_of(model, block.embeddings)] == ids
    assert [i == image for i in ids] == block.is_visual.tolist()


@pytest.mark.parametrize(("side", "scale"), [(12, 4), (27, 3), (32, 4)])
def test_patches_take_the_places_that_transformers_gives_them(side, scale, tmp_path):
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


@pytest.mark.parametrize("size", [(90, 160), (40, 64)])
def test_a_frame_that_is_resized_is_seen_as_by_its_image_processor(size):
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
