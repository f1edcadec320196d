"""llava_onevision_files: a side of pictures in, the files of a LLaVA-OneVision checkpoint out."""

from eval.random_model.checkpoint_files import (
    CheckpointFiles,
    made_up_tokenizer,
    preprocessor,
    tokenizer_config,
)

_TEMPLATE = r"""
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


def llava_onevision_files(side: int = 384) -> CheckpointFiles:
    """`side`, in pixels, is that of the tower's pictures."""
    size = {"height": side, "width": side}
    tokenizer = made_up_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
    )
    return CheckpointFiles(
        tokenizer,
        stops=["<|im_end|>"],
        contents={
            "tokenizer_config.json": tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
            "chat_template.jinja": _TEMPLATE,
            "preprocessor_config.json": preprocessor(3, size, do_pad=True),
            "video_preprocessor_config.json": preprocessor(3, size),
        },
        config={
            "image_token_id": tokenizer.token_to_id("<image>"),
            "video_token_id": tokenizer.token_to_id("<video>"),
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
    )
