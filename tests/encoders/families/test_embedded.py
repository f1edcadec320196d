"""The embedded model: a tiny one of its kind, its golden prompt, and its time words."""

import numpy as np
import pytest
from family_case import FamilyCase
from tiny_checkpoints import made
from tiny_smolvlm import tiny_smolvlm
from token_ids import text_before
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers

from encoders import Frame
from encoders.families.embedded import time_words
from eval.random_model.checkpoint_files import (
    CheckpointFiles,
    byte_level,
    preprocessor,
    tokenizer_config,
)

_SPECIAL = ["<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"]
_TIME_WORDS = [
    *(f"{hour}h" for hour in range(24)),
    *(f"{minute:02d}m" for minute in range(60)),
    *(f"{second:02d}s" for second in range(60)),
]
_TEMPLATE = r"""
{{- bos_token -}}
{%- for message in messages -%}
  {%- for part in message.content if part.type == "video" -%}{{- "<image>" -}}{%- endfor -%}
  {{- "<|assistant|> " if message.role == "assistant" else "<|user|>" -}}
  {%- for part in message.content if part.type == "text" -%}{{- part.text -}}{%- endfor -%}
  {{- "<|end|>" if message.role == "assistant" -}}
{%- endfor -%}
{{- "<|assistant|>" if add_generation_prompt -}}
"""


def _tokenizer():
    """Special tokens first, words in lower case, numbers cut in pairs of digits, time words."""
    tokenizer = byte_level(first=_SPECIAL)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in _TIME_WORDS])
    return tokenizer


_TOKENIZER = _tokenizer()
FILES = CheckpointFiles(
    _TOKENIZER,
    stops=["<|end|>"],
    contents={
        "tokenizer_config.json": tokenizer_config(
            "PreTrainedTokenizerFast", "<|end|>", bos_token="<|bos|>", pad_token="<|pad|>"
        ),
        "chat_template.jinja": _TEMPLATE,
        "preprocessor_config.json": preprocessor(2, {"height": 96, "width": 96}),
    },
    config={"image_token_id": _TOKENIZER.token_to_id("<image>"), "vstream_family": "embedded"},
)
CASE = FamilyCase(
    files=FILES,
    config=lambda decoder: tiny_smolvlm(decoder, 96, 4, FILES.config),
    whole_video=lambda model, pixels: model.get_image_features(pixels[None]),
    side=96,
    prefix="<|bos|>",
    question="<|user|>{}<|assistant|>",
    answered="<|assistant|> {}<|end|><|user|>",
    before_answer=" ",
    with_system="<|bos|><|user|>{}",
    video="<image>",
    is_cased=False,
)


@pytest.mark.parametrize(
    ("stream_s", "wanted"),
    [(0.0, "0h00m00s"), (3725.9, "1h02m05s"), (86399.0, "23h59m59s"), (86400.0 + 61, "0h01m01s")],
)
def test_frames_open_with_three_time_words(stream_s, wanted):
    assert time_words(stream_s) == wanted
    model, family = made("embedded")
    (block,) = family.encode([[Frame(np.zeros((96, 96, 3), np.uint8), stream_s, 0.0)]])
    assert block.is_visual.tolist() == [False] * 3 + [True] * 9
    assert text_before(model, FILES.tokenizer, block) == wanted
