"""Made-up tokenizers and checkpoint files, also of families that `eval.random_model` lacks."""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers

from eval.random_model import checkpoint_files, tokenizer
from eval.random_model.checkpoint_files import preprocessor, tokenizer_config, write_files
from eval.random_model.tokenizer import byte_level_tokenizer, chat_tokenizer

SMOLVLM = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"),
    *("<global-img>", "<row_1_col_1>", "<end_of_utterance>"),
]
EMBEDDED = ["<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"]
TIME_WORDS = [
    *(f"{hour}h" for hour in range(24)),
    *(f"{minute:02d}m" for minute in range(60)),
    *(f"{second:02d}s" for second in range(60)),
]
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


def made_up_tokenizer(family):
    if family == "embedded":
        return _embedded_tokenizer()
    return chat_tokenizer(SMOLVLM) if family == "smolvlm" else tokenizer.made_up_tokenizer(family)


def save_tiny_files(family, directory):
    """All of a checkpoint but config.json and the weights."""
    directory = Path(directory)
    if family == "smolvlm":
        write_files(_smolvlm_files(), made_up_tokenizer(family), ["<end_of_utterance>"], directory)
    elif family == "embedded":
        write_files(_embedded_files(), made_up_tokenizer(family), ["<|end|>"], directory)
    else:
        checkpoint_files.write_checkpoint_files(family, directory)
    if family == "llava_onevision":
        for path in directory.glob("*preprocessor_config.json"):
            size = {"size": {"height": 56, "width": 56}}
            path.write_text(json.dumps(json.loads(path.read_text()) | size))


def _embedded_tokenizer():
    """Special tokens first, words in lower case, numbers cut in pairs of digits, time words."""
    tokenizer = byte_level_tokenizer(EMBEDDED)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens(EMBEDDED)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in TIME_WORDS])
    return tokenizer


def _smolvlm_files():
    video = {"video_size": {"longest_edge": 32}, "max_frames": 64, "fps": 1}
    return {
        "tokenizer_config.json": tokenizer_config("GPT2Tokenizer", "<end_of_utterance>"),
        "chat_template.json": {"chat_template": _SMOLVLM_TEMPLATE},
        "preprocessor_config.json": preprocessor(
            1, {"longest_edge": 128}, max_image_size={"longest_edge": 32}, video_sampling=video
        ),
    }


def _embedded_files():
    return {
        "tokenizer_config.json": tokenizer_config(
            "PreTrainedTokenizerFast", "<|end|>", bos_token="<|bos|>", pad_token="<|pad|>"
        ),
        "chat_template.jinja": _EMBEDDED_TEMPLATE,
        "preprocessor_config.json": preprocessor(2, {"height": 96, "width": 96}),
    }
