"""Random models of real architectures, small enough to build in a blink; attention is peaked."""

from importlib import import_module
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

TEXT_MODELS = ["llama", "qwen2", "qwen3"]
VIDEO_FAMILIES = sorted(
    path.stem.removeprefix("test_")
    for path in (Path(__file__).parents[1] / "encoders" / "families").glob("test_*.py")
)
"""Those that have a test file."""

_PEAK = 8.0
"""Random attention is nearly uniform, and would forgive a wrong position or mask."""
_DECODER = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 4096,
}


def family_case(name):
    """The FamilyCase of a family, from its test file."""
    return import_module(f"test_{name}").CASE


def tiny_model(name, seed=0):
    """The model of a family, or a text-only one, in float32; the same for the same seed."""
    auto = AutoModelForCausalLM if name in TEXT_MODELS else AutoModelForImageTextToText
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = auto.from_config(_config(name), dtype=torch.float32)
        for key, weights in model.named_parameters():
            if key.endswith(("image_newline", "position_embedding.weight", "pos_embed.weight")):
                weights.data.normal_(0, 0.5)
    for key, weights in model.get_decoder().named_parameters():
        if key.endswith(("q_proj.weight", "k_proj.weight")):
            weights.data.mul_(_PEAK)
    return model.requires_grad_(False).train(mode=False)


def _config(name):
    if name in TEXT_MODELS:
        return AutoConfig.for_model(name, vocab_size=400, **_DECODER)
    case = family_case(name)
    ids = case.files.tokenizer.get_vocab()
    special = {"bos_token_id": None, "pad_token_id": None, "eos_token_id": ids[case.files.stops[0]]}
    return case.config({**_DECODER, "vocab_size": len(ids), **special})
