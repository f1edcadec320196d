"""qwen2_5_vl_files, qwen3_vl_files: nothing in, the files of a Qwen-VL checkpoint out."""

from typing import Any

from eval.random_model.checkpoint_files import (
    CheckpointFiles,
    made_up_tokenizer,
    preprocessor,
    tokenizer_config,
)

_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
_NOT_SPECIAL = ["<tool_call>", "</tool_call>"]
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_TEMPLATE = r"""
{%- for message in messages -%}
  {{- DEFAULT_SYSTEM if loop.first and message.role != "system" -}}
  {{- "<|im_start|>" ~ message.role ~ "\n" -}}
  {%- for part in message.content -%}
    {{- "<|vision_start|><|video_pad|><|vision_end|>" if part.type == "video" -}}
    {{- part.text if part.type == "text" -}}
  {%- endfor -%}
  {{- "<|im_end|>\n" -}}
{%- endfor -%}
{{- "<|im_start|>assistant\n" if add_generation_prompt -}}
"""
_SYSTEM = r'"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"'


def qwen2_5_vl_files() -> CheckpointFiles:
    """Qwen2.5-VL's: the template stands in tokenizer_config.json, sizes are numbers of pixels."""
    template = _TEMPLATE.replace("DEFAULT_SYSTEM", _SYSTEM)
    limits: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}
    preprocessing = preprocessor(3, None, _CLIP_MEAN, _CLIP_STD, **limits, **_patches(14))
    del preprocessing["size"]
    return _files(
        {
            "tokenizer_config.json": tokenizer_config(
                "Qwen2Tokenizer", "<|im_end|>", chat_template=template
            ),
            "preprocessor_config.json": preprocessing,
        }
    )


def qwen3_vl_files() -> CheckpointFiles:
    """Qwen3-VL's: the template stands in chat_template.json, video has a size of its own."""
    for_video = {"shortest_edge": 4096, "longest_edge": 25165824}
    for_images = {"shortest_edge": 65536, "longest_edge": 16777216}
    return _files(
        {
            "tokenizer_config.json": tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
            "chat_template.json": {"chat_template": _TEMPLATE.replace("DEFAULT_SYSTEM", "''")},
            "preprocessor_config.json": preprocessor(3, for_images, **_patches(16)),
            "video_preprocessor_config.json": preprocessor(3, for_video, **_patches(16)),
        }
    )


def _patches(side: int) -> dict[str, Any]:
    return {"patch_size": side, "temporal_patch_size": 2, "merge_size": 2}


def _files(contents: dict[str, Any]) -> CheckpointFiles:
    tokenizer = made_up_tokenizer(_SPECIAL, _NOT_SPECIAL)
    return CheckpointFiles(
        tokenizer,
        stops=["<|im_end|>", "<|endoftext|>"],
        contents=contents,
        config={
            "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
            "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
            "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
            "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        },
    )
