"""Checkpoint files: a family in, all of a made-up checkpoint but config.json and the weights out.

Laid out file by file as the published ones; the smallest pictures that Qwen's take, and SmolVLM's
and the embedded model's pictures, are small.
"""

import json
from pathlib import Path
from typing import Any

from eval.random_model.tokenizer import made_up_tokenizer

_Files = tuple[dict[str, Any], list[str]]
"""Contents by file name, and the tokens that end an answer."""

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
_SMOLVLM_TEMPLATE = r"""
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
_EMBEDDED_TEMPLATE = r"""
{{- bos_token -}}
{%- for message in messages -%}
  {%- for part in message.content if part.type == "video" -%}{{- "<image>" -}}{%- endfor -%}
  {{- "<|assistant|> " if message.role == "assistant" else "<|user|>" -}}
  {%- for part in message.content if part.type == "text" -%}{{- part.text -}}{%- endfor -%}
  {{- "<|end|>" if message.role == "assistant" -}}
{%- endfor -%}
{{- "<|assistant|>" if add_generation_prompt -}}
"""


def write_checkpoint_files(family: str, directory: Path, picture_side: int = 384) -> None:
    """All that the family reads of a checkpoint's directory. `picture_side`, in pixels, is that of
    LLaVA-OneVision's tower.
    """
    files, stops = {
        "llava_onevision": lambda: _llava_onevision_files(picture_side),
        "qwen2_5_vl": _qwen2_5_vl_files,
        "qwen3_vl": _qwen3_vl_files,
        "smolvlm": _smolvlm_files,
        "embedded": _embedded_files,
    }[family]()
    tokenizer = made_up_tokenizer(family)
    tokenizer.save(str(directory / "tokenizer.json"))
    stop_ids = [tokenizer.token_to_id(token) for token in stops]
    files["generation_config.json"] = {
        "eos_token_id": stop_ids if len(stop_ids) > 1 else stop_ids[0]
    }
    for file, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        (directory / file).write_text(text, "utf-8")


def _preprocessor(
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


def _llava_onevision_files(side: int) -> _Files:
    size = {"height": side, "width": side}
    files: dict[str, Any] = {
        "tokenizer_config.json": _tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
        "chat_template.jinja": _LLAVA_TEMPLATE,
        "preprocessor_config.json": _preprocessor(3, size, do_pad=True),
        "video_preprocessor_config.json": _preprocessor(3, size),
    }
    return files, ["<|im_end|>"]


def _qwen2_5_vl_files() -> _Files:
    template = _QWEN_TEMPLATE.replace("DEFAULT_SYSTEM", _QWEN_SYSTEM)
    config = _tokenizer_config("Qwen2Tokenizer", "<|im_end|>", chat_template=template)
    limits: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}
    patches: dict[str, Any] = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    preprocessor = _preprocessor(3, None, _CLIP_MEAN, _CLIP_STD, **limits, **patches)
    del preprocessor["size"]
    files: dict[str, Any] = {
        "tokenizer_config.json": config,
        "preprocessor_config.json": preprocessor,
    }
    return files, ["<|im_end|>", "<|endoftext|>"]


def _qwen3_vl_files() -> _Files:
    patches: dict[str, Any] = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    for_video = {"shortest_edge": 4096, "longest_edge": 25165824}
    for_images = {"shortest_edge": 65536, "longest_edge": 16777216}
    files: dict[str, Any] = {
        "tokenizer_config.json": _tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
        "chat_template.json": {"chat_template": _QWEN_TEMPLATE.replace("DEFAULT_SYSTEM", "''")},
        "preprocessor_config.json": _preprocessor(3, for_images, **patches),
        "video_preprocessor_config.json": _preprocessor(3, for_video, **patches),
    }
    return files, ["<|im_end|>", "<|endoftext|>"]


def _smolvlm_files() -> _Files:
    video = {"video_size": {"longest_edge": 32}, "max_frames": 64, "fps": 1}
    files: dict[str, Any] = {
        "tokenizer_config.json": _tokenizer_config("GPT2Tokenizer", "<end_of_utterance>"),
        "chat_template.json": {"chat_template": _SMOLVLM_TEMPLATE},
        "preprocessor_config.json": _preprocessor(
            1, {"longest_edge": 128}, max_image_size={"longest_edge": 32}, video_sampling=video
        ),
    }
    return files, ["<end_of_utterance>"]


def _embedded_files() -> _Files:
    files: dict[str, Any] = {
        "tokenizer_config.json": _tokenizer_config(
            "PreTrainedTokenizerFast", "<|end|>", bos_token="<|bos|>", pad_token="<|pad|>"
        ),
        "chat_template.jinja": _EMBEDDED_TEMPLATE,
        "preprocessor_config.json": _preprocessor(2, {"height": 96, "width": 96}),
    }
    return files, ["<|end|>"]


def _tokenizer_config(tokenizer_class: str, eos_token: str, **more: Any) -> dict[str, Any]:
    return {
        "tokenizer_class": tokenizer_class,
        "eos_token": eos_token,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
        **more,
    }
