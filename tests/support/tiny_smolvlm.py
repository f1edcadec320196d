"""Tiny models of SmolVLM's architecture, which two families have."""

from transformers import AutoConfig


def tiny_smolvlm(decoder, image_size, scale_factor, special):
    """The config; `special` names its special tokens."""
    return AutoConfig.for_model(
        "smolvlm",
        text_config={"model_type": "llama", **decoder},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": image_size,
            "patch_size": 8,
        },
        scale_factor=scale_factor,
        pad_token_id=None,
        **special,
    )
