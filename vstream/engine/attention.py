"""The one attention function that drives stock transformers decoders: it hands q, k, v to a step.

Every call of a decoder carries a step object in its keyword arguments. The step gets the queries,
keys and values of each layer before RoPE (positions 0 make the decoder's own RoPE the identity)
and answers with the attention output; rotation, window, retrieval and decode all happen in steps.
No modeling file is forked, no forward patched, no Cache subclassed.
"""

from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from vstream.engine.flash_kernels import fastest_kernel

ATTENTION_NAME = "vstream"

_EXACT_WITHOUT = ("softcap", "sliding_window", "s_aux", "sinks")
"""What some decoders ask of attention and steps do not do. Silence would be a wrong answer."""


class Step(Protocol):
    """What one forward pass does with the queries, keys and values of each layer."""

    def attend(
        self,
        layer: int,
        queries: Float[Tensor, "heads tokens head_dim"],
        keys: Float[Tensor, "kv_heads tokens head_dim"],
        values: Float[Tensor, "kv_heads tokens head_dim"],
        scale: float,
    ) -> Float[Tensor, "heads tokens head_dim"]: ...


def stream_attention(
    module: nn.Module,
    query: Float[Tensor, "1 heads tokens head_dim"],
    key: Float[Tensor, "1 kv_heads tokens head_dim"],
    value: Float[Tensor, "1 kv_heads tokens head_dim"],
    attention_mask: None,
    scaling: float,
    dropout: float = 0.0,
    *,
    step: Step,
    **extra: Any,
) -> tuple[Float[Tensor, "1 tokens heads head_dim"], None]:
    """Let `step` attend. The signature is that of transformers' AttentionInterface.

    Raises ValueError for a feature of attention that no step implements.
    """
    for feature in _EXACT_WITHOUT:
        if extra.get(feature) is not None:
            raise ValueError(f"attention with {feature}={extra[feature]!r} is not supported")
    layer: int = module.layer_idx  # type: ignore[assignment]
    output = step.attend(layer, query[0], key[0], value[0], scaling)
    return output.transpose(0, 1)[None], None


def register_attention() -> None:
    """Make `stream_attention` known to transformers under ATTENTION_NAME. Repeating is harmless.

    No mask function is registered beside it on purpose: without one, transformers makes no mask;
    with one, position ids that are all 0 would be read as packed sequences.
    """
    from transformers import AttentionInterface  # seconds: only where a model is loaded

    AttentionInterface.register(ATTENTION_NAME, stream_attention)


def grouped_attention(
    queries: Float[Tensor, "heads q_tokens head_dim"],
    keys: Float[Tensor, "kv_heads k_tokens head_dim"],
    values: Float[Tensor, "kv_heads k_tokens v_dim"],
    scale: float,
    mask: Bool[Tensor, "q_tokens k_tokens"] | None,
) -> Float[Tensor, "heads q_tokens v_dim"]:
    """Scaled dot-product attention with grouped queries; True in `mask` means "attends".

    The heads of a group are laid along the query axis, so keys and values are never expanded.
    """
    heads, q_tokens, head_dim = queries.shape
    kv_heads = keys.shape[0]
    group = heads // kv_heads
    packed = queries.reshape(1, kv_heads, group * q_tokens, head_dim)
    if mask is not None:
        mask = mask.repeat(group, 1)
    output = F.scaled_dot_product_attention(
        packed, keys[None], values[None], attn_mask=mask, scale=scale
    )
    return output.reshape(heads, q_tokens, values.shape[-1])


def causal_attention(
    queries: Float[Tensor, "heads q_tokens head_dim"],
    keys: Float[Tensor, "kv_heads k_tokens head_dim"],
    values: Float[Tensor, "kv_heads k_tokens v_dim"],
    scale: float,
) -> Float[Tensor, "heads q_tokens v_dim"]:
    """`grouped_attention` of the newest tokens to all before them and themselves.

    On a card that has a flash kernel no mask is made (`flash_kernels`).
    """
    q_tokens, k_tokens = queries.shape[1], keys.shape[1]
    if q_tokens > 1 and _has_flash(queries):
        kernel = fastest_kernel(
            queries.device, queries.dtype, len(queries), len(keys), queries.shape[2]
        )
        return kernel.attend(queries, keys, values, scale)
    return grouped_attention(
        queries, keys, values, scale, causal_mask(q_tokens, k_tokens, keys.device)
    )


def attention_mass(
    queries: Float[Tensor, "heads q_tokens head_dim"],
    keys: Float[Tensor, "kv_heads k_tokens head_dim"],
    scale: float,
) -> Float[Tensor, "kv_heads k_tokens"]:
    """How much `causal_attention` attends to each key, summed over queries and heads of a group."""
    kv_heads, k_tokens, head_dim = keys.shape
    q_tokens = queries.shape[1]
    scores = queries.reshape(kv_heads, -1, head_dim).float() @ keys.float().transpose(1, 2) * scale
    mask = causal_mask(q_tokens, k_tokens, keys.device)
    if mask is not None:
        mask = mask.repeat(len(queries) // kv_heads, 1)
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1).sum(dim=1)


def _has_flash(queries: Tensor) -> bool:
    """In half precision, from Ampere on. Others would expand the keys for grouped queries."""
    is_half = queries.dtype in (torch.float16, torch.bfloat16)
    return queries.is_cuda and is_half and torch.cuda.get_device_capability(queries.device) >= (8,)


def causal_mask(
    q_tokens: int, k_tokens: int, device: torch.device
) -> Bool[Tensor, "q_tokens k_tokens"] | None:
    """The causal mask aligned to the last key: query i sees keys up to k_tokens - q_tokens + i."""
    if q_tokens == 1:
        return None
    mask = torch.ones(q_tokens, k_tokens, dtype=torch.bool, device=device)
    return mask.tril(diagonal=k_tokens - q_tokens)
