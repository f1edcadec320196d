"""The check at load time: a decoder that the hook cannot drive exactly is refused by name."""

import pytest
import torch
from tiny_models import TEXT_MODELS, VIDEO_FAMILIES, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from vstream.engine import Decoder
from vstream.errors import ModelError

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def text_model(model_type, dtype=torch.float32, **more):
    config = AutoConfig.for_model(model_type, **SHAPE, **more)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "q_proj.weight" in name or "k_proj.weight" in name:
            parameter.mul_(8)  # peaked attention, as trained models have it
    return model.to(dtype)


@pytest.mark.parametrize("name", [*TEXT_MODELS, *VIDEO_FAMILIES])
def test_supported_decoders_pass(name):
    Decoder(tiny_model(name))


def test_any_other_decoder_of_the_same_kind_passes():
    Decoder(text_model("phi3"))
    Decoder(text_model("olmo2"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model_type", "more"),
    [("smollm3", {"no_rope_layers": [1, 0, 1, 0]}), ("cohere", {})],
)
def test_a_decoder_for_which_the_hook_is_not_exact_is_refused(model_type, more, dtype):
    with pytest.raises(ModelError, match=rf"{model_type}.*not exact.*logits differ by \d"):
        Decoder(text_model(model_type, dtype, **more))


@pytest.mark.parametrize(
    ("model_type", "reason"), [("gemma2", "softcap"), ("gpt_neox", "not exact")]
)
def test_a_decoder_with_what_no_step_does_is_refused(model_type, reason):
    with pytest.raises(ModelError, match=f"{model_type}.*{reason}"):
        Decoder(text_model(model_type))


def test_a_sliding_window_is_refused():
    with pytest.raises(ModelError, match="sliding_window"):
        Decoder(text_model("mistral", sliding_window=32))
    Decoder(text_model("mistral", sliding_window=None))
