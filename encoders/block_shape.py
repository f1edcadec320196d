"""The shape of a family's blocks, from config.json alone, without loading the model or torch.

`vstream policies` uses it to tell how many bytes a policy keeps. Families not listed here have no
such numbers; a test compares those listed with the blocks they make.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from encoders.recommended import EMBEDDED, Recommended

_GRID_TOKENS, _GRID_FRAMES = 256, 2
"""At most, for one temporal grid; see `encoders.temporal_grid`."""
_HALF_BYTES = 2
_OF_A_BYTE = {"int4_token": 2, "int2_token": 4}
"""Numbers per byte."""
_VALUE_BYTES = 4
"""Of a scale and a zero in half precision, and of a number in the index."""


@dataclass(frozen=True)
class BlockShape:
    """Sizes of one block: the tokens of pictures, without the text between them."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    d_model: int
    tokens: int
    frames: int
    recommended: Recommended
    axes: int = 1
    """Rotary axes."""
    deepstack: int = 0
    """Further vectors of each visual token that enter the decoder."""

    @property
    def head_vector_bytes(self) -> int:
        """The size of one vector per query head and layer, as an index keeps it."""
        return self.layers * self.heads * self.head_dim * _VALUE_BYTES

    def kept_bytes(self, codec: str | None) -> int:
        """Return bytes of keys, values, scales and index, not of picture and head; None is int8."""
        width = self.kv_heads * self.head_dim
        codes = 2 * width * self.tokens
        if codec in _OF_A_BYTE:
            scales = 2 * self.kv_heads * self.tokens * _HALF_BYTES
            return self.layers * (codes // _OF_A_BYTE[codec] + scales + width + _HALF_BYTES)
        scales = (width + self.kv_heads * self.tokens) * _VALUE_BYTES
        return self.layers * (codes + scales + width * _VALUE_BYTES)


def block_shape(config: Mapping[str, Any]) -> BlockShape | None:
    """Return the shape for a checkpoint's config.json; None for a family not listed here."""
    name = config.get("vstream_family", config.get("model_type"))
    known = _FAMILIES.get(str(name))
    text = config.get("text_config", config)
    if known is None or "hidden_size" not in text:
        return None
    tokens, frames, recommended = known
    heads = text["num_attention_heads"]
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    return BlockShape(
        layers=text["num_hidden_layers"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads", heads),
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        d_model=text["hidden_size"],
        tokens=tokens(config),
        frames=frames,
        recommended=recommended,
        axes=3 if "mrope_section" in rope else 1,
        deepstack=len(config.get("vision_config", {}).get("deepstack_visual_indexes", ())),
    )


def _smolvlm_tokens(config: Mapping[str, Any]) -> int:
    vision = config["vision_config"]
    side: int = vision["image_size"] // vision["patch_size"] // config["scale_factor"]
    return side**2


def _llava_tokens(config: Mapping[str, Any]) -> int:
    vision = config["vision_config"]
    side: int = -(-(vision["image_size"] // vision["patch_size"]) // 2)
    return side**2


_FAMILIES: dict[str, tuple[Callable[[Mapping[str, Any]], int], int, Recommended]] = {
    "embedded": (lambda config: _smolvlm_tokens(config) + 3, 1, EMBEDDED),  # and its time words
    "smolvlm": (_smolvlm_tokens, 1, Recommended()),
    "llava_onevision": (_llava_tokens, 1, Recommended()),
    "qwen2_5_vl": (lambda config: _GRID_TOKENS, _GRID_FRAMES, Recommended()),
    "qwen3_vl": (lambda config: _GRID_TOKENS, _GRID_FRAMES, Recommended()),
}
