"""Random models of real architectures, small enough to build in a blink; attention is peaked."""

import torch
from tiny_files import made_up_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

TEXT_MODELS = ["llama", "qwen2", "qwen3"]
VIDEO_FAMILIES = ["llava_onevision", "qwen2_5_vl", "qwen3_vl", "smolvlm", "embedded"]

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
    ids = made_up_tokenizer(name).get_vocab()
    decoder = {**_DECODER, "vocab_size": len(ids), "bos_token_id": None, "pad_token_id": None}
    return {
        "llava_onevision": _llava_onevision,
        "qwen2_5_vl": _qwen2_5_vl,
        "qwen3_vl": _qwen3_vl,
        "smolvlm": _smolvlm,
        "embedded": _embedded,
    }[name](decoder, ids)


def _llava_onevision(decoder, ids):
    return AutoConfig.for_model(
        "llava_onevision",
        text_config={"model_type": "qwen2", **decoder, "eos_token_id": ids["<|im_end|>"]},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "image_size": 56,
            "patch_size": 14,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vision_use_head": False,
        },
        image_token_id=ids["<image>"],
        video_token_id=ids["<video>"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
    )


def _qwen_ids(ids):
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _qwen2_5_vl(decoder, ids):
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    return AutoConfig.for_model(
        "qwen2_5_vl",
        text_config={**decoder, "rope_parameters": rope, "eos_token_id": ids["<|im_end|>"]},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
            "out_hidden_size": decoder["hidden_size"],
            "tokens_per_second": 2,
        },
        **_qwen_ids(ids),
    )


def _qwen3_vl(decoder, ids):
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True}
    rope["mrope_section"] = [4, 2, 2]
    return AutoConfig.for_model(
        "qwen3_vl",
        text_config={**decoder, "rope_parameters": rope, "eos_token_id": ids["<|im_end|>"]},
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 16,
            "num_position_embeddings": 16,
            "out_hidden_size": decoder["hidden_size"],
            "deepstack_visual_indexes": [0, 1],
        },
        **_qwen_ids(ids),
    )


def _smolvlm(decoder, ids, image_size=32, scale_factor=2, eos="<end_of_utterance>"):
    return AutoConfig.for_model(
        "smolvlm",
        text_config={"model_type": "llama", **decoder, "eos_token_id": ids[eos]},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": image_size,
            "patch_size": 8,
        },
        scale_factor=scale_factor,
        image_token_id=ids["<image>"],
        pad_token_id=None,
    )


def _embedded(decoder, ids):
    config = _smolvlm(decoder, ids, image_size=96, scale_factor=4, eos="<|end|>")
    config.vstream_family = "embedded"
    return config
