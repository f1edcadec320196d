"""Shapes: the sizes of published Video-LLMs, as their config.json gives them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from eval.random_model.checkpoint_files import CheckpointFiles
from eval.random_model.llava_onevision import llava_onevision_files
from eval.random_model.qwen_vl import qwen2_5_vl_files, qwen3_vl_files
from vstream import SettingsError

_QWEN2: dict[str, Any] = {
    "model_type": "qwen2",
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
}
_QWEN2_ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e6}
_QWEN2_5: dict[str, Any] = {
    "max_position_embeddings": 128_000,
    "rope_parameters": {**_QWEN2_ROPE, "mrope_section": [16, 24, 24]},
}
_SIGLIP_SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "image_size": 384,
    "patch_size": 14,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "vision_use_head": False,
}
_QWEN2_5_TOWER = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "tokens_per_second": 2,
}
_QWEN3_TOWER = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}


def _decoder(hidden: int, inner: int, layers: int, heads: int, kv_heads: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": 152_064,
    }


@dataclass(frozen=True)
class Shape:
    """A family, the sizes of its decoder and its tower, and whether the head is the embeddings."""

    family: str
    decoder: dict[str, Any]
    tower: dict[str, Any]
    is_tied: bool = False


SHAPES = {
    "llava-onevision-0.5b": Shape(
        "llava_onevision",
        {**_QWEN2, **_decoder(896, 4864, 24, 14, 2), "rope_parameters": _QWEN2_ROPE},
        _SIGLIP_SO400M,
        is_tied=True,
    ),
    "llava-onevision-7b": Shape(
        "llava_onevision",
        {**_QWEN2, **_decoder(3584, 18944, 28, 28, 4), "rope_parameters": _QWEN2_ROPE},
        _SIGLIP_SO400M,
    ),
    "qwen2.5-vl-3b": Shape(
        "qwen2_5_vl",
        {**_QWEN2_5, **_decoder(2048, 11008, 36, 16, 2)},
        {**_QWEN2_5_TOWER, "out_hidden_size": 2048},
        is_tied=True,
    ),
    "qwen2.5-vl-7b": Shape(
        "qwen2_5_vl",
        {**_QWEN2_5, **_decoder(3584, 18944, 28, 28, 4)},
        {**_QWEN2_5_TOWER, "out_hidden_size": 3584},
    ),
    "qwen3-vl-8b": Shape(
        "qwen3_vl",
        {
            **_decoder(4096, 12288, 36, 32, 8),
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_interleaved": True,
                "mrope_section": [24, 20, 20],
            },
        },
        {**_QWEN3_TOWER, "out_hidden_size": 4096},
    ),
}
"""By name."""
_FILES: dict[str, Callable[[], CheckpointFiles]] = {
    "llava_onevision": llava_onevision_files,
    "qwen2_5_vl": qwen2_5_vl_files,
    "qwen3_vl": qwen3_vl_files,
}


def require_shape(name: str, has_random_weights: bool) -> None:
    """Raises SettingsError for a name that is none, or where weights were not said to be random."""
    if name not in SHAPES:
        raise SettingsError(f"unknown shape {name!r}: one of {', '.join(SHAPES)}")
    if not has_random_weights:
        raise SettingsError("a shape has --random-weights; to say so keeps figures honest")


def files_of(name: str) -> CheckpointFiles:
    """What stands beside the weights of a shape, with a tokenizer of a few hundred entries."""
    return _FILES[SHAPES[name].family]()


def config_of(name: str) -> PretrainedConfig:
    """The whole config of a shape, with the special tokens of its files."""
    shape, files = SHAPES[name], files_of(name)
    text = {
        **shape.decoder,
        "bos_token_id": None,
        "pad_token_id": None,
        "eos_token_id": files.tokenizer.token_to_id("<|im_end|>"),
    }
    return AutoConfig.for_model(
        shape.family,
        text_config=text,
        vision_config=shape.tower,
        tie_word_embeddings=shape.is_tied,
        **files.config,
    )
