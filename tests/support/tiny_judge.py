"""A tiny random language model with a chat template, laid out as an instruct checkpoint."""

from tiny_models import tiny_model
from transformers import PreTrainedTokenizerFast

from eval.random_model.checkpoint_files import llava_onevision_files

_TEMPLATE = """
{%- for message in messages -%}
  {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" -}}
{%- endfor -%}
{{- "<|im_start|>assistant\\n" if add_generation_prompt -}}
"""


def save_tiny_judge(directory):
    """What it replies cannot be read as a judgement, but it is always the same."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=llava_onevision_files().tokenizer, eos_token="<|im_end|>"
    )
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(directory)
    model = tiny_model("qwen2")
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(directory)
    return directory
