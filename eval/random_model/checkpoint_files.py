"""Checkpoint files: a family in, all of a made-up checkpoint but config.json and the weights out.

Laid out file by file as the published ones; the smallest pictures that Qwen's take are small.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from eval.random_model.tokenizer import made_up_tokenizer

Files = dict[str, Any]
"""Contents by file name."""

_HALF = [0.5, 0.5, 0.5]
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

_LLAVA_TEMPLATE = r"""
{%- for message in messages -%}
  {{- "<|im_start|>" ~ message.role ~ " " -}}
  {%- for part in message.content if part.type == "video" -%}{{- "<video>" -}}{%- endfor -%}
  {%- for part in message.content if part.type == "text" -%}
    {%- if message.role == "assistant" -%}
      {%- generation -%}{{- "\n" ~ part.text -}}{%- endgeneration -%}
    {%- else -%}
      {{- "\n" ~ part.text -}}
    {%- endif -%}
  {%- endfor -%}
  {{- "<|im_end|>" -}}
{%- endfor -%}
{{- "<|im_start|>assistant\n" if add_generation_prompt -}}
"""
_QWEN_TEMPLATE = r"""
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
_QWEN_SYSTEM = r'"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"'


def write_checkpoint_files(family: str, directory: Path) -> None:
    """All that the family reads of a checkpoint's directory."""
    files = {
        "llava_onevision": _llava_onevision_files,
        "qwen2_5_vl": _qwen2_5_vl_files,
        "qwen3_vl": _qwen3_vl_files,
    }[family]
    stops = ["<|im_end|>"] if family == "llava_onevision" else ["<|im_end|>", "<|endoftext|>"]
    write_files(files(), made_up_tokenizer(family), stops, directory)


def write_files(files: Files, tokenizer: Tokenizer, stops: Sequence[str], directory: Path) -> None:
    """With the tokenizer and the ids of the tokens that end an answer."""
    tokenizer.save(str(directory / "tokenizer.json"))
    stop_ids = [tokenizer.token_to_id(token) for token in stops]
    ends: dict[str, Any] = {"eos_token_id": stop_ids if len(stop_ids) > 1 else stop_ids[0]}
    for file, content in {**files, "generation_config.json": ends}.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        (directory / file).write_text(text, "utf-8")


def preprocessor(
    resample: int,
    size: dict[str, int] | None,
    mean: list[float] = _HALF,
    std: list[float] = _HALF,
    **more: Any,
) -> dict[str, Any]:
    return {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": resample,
        "rescale_factor": 1 / 255,
        "image_mean": mean,
        "image_std": std,
        "size": size,
        **more,
    }


def _llava_onevision_files() -> Files:
    size = {"height": 384, "width": 384}
    return {
        "tokenizer_config.json": tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
        "chat_template.jinja": _LLAVA_TEMPLATE,
        "preprocessor_config.json": preprocessor(3, size, do_pad=True),
        "video_preprocessor_config.json": preprocessor(3, size),
    }


def _qwen2_5_vl_files() -> Files:
    template = _QWEN_TEMPLATE.replace("DEFAULT_SYSTEM", _QWEN_SYSTEM)
    limits: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}
    patches: dict[str, Any] = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    pictures = preprocessor(3, None, _CLIP_MEAN, _CLIP_STD, **limits, **patches)
    del pictures["size"]
    return {
        "tokenizer_config.json": tokenizer_config(
            "Qwen2Tokenizer", "<|im_end|>", chat_template=template
        ),
        "preprocessor_config.json": pictures,
    }


def _qwen3_vl_files() -> Files:
    patches: dict[str, Any] = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    for_video = {"shortest_edge": 4096, "longest_edge": 25165824}
    for_images = {"shortest_edge": 65536, "longest_edge": 16777216}
    return {
        "tokenizer_config.json": tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
        "chat_template.json": {"chat_template": _QWEN_TEMPLATE.replace("DEFAULT_SYSTEM", "''")},
        "preprocessor_config.json": preprocessor(3, for_images, **patches),
        "video_preprocessor_config.json": preprocessor(3, for_video, **patches),
    }


def tokenizer_config(tokenizer_class: str, eos_token: str, **more: Any) -> dict[str, Any]:
    return {
        "tokenizer_class": tokenizer_class,
        "eos_token": eos_token,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
        **more,
    }
