"""Decoder: a stock transformers decoder driven step by step, checked to be exact before use.

One attention function drives it: every call carries a step object in its keyword arguments. The
step gets the queries, keys and values of each layer before RoPE (positions 0 make the decoder's own
RoPE the identity) and returns the attention output; rotation, window, retrieval and decode all
happen in steps.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vstream.engine.positions import Rope, rope_of
from vstream.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION_NAME = "vstream"
_EXACT_WITHOUT = ("softcap", "sliding_window", "s_aux", "sinks")
"""Attention features of some decoders that steps lack. To ignore one would give a wrong answer."""
SELF_CHECK_TOKENS = 40
SELF_CHECK_TOLERANCE = 1e-4
_ROUNDED_TOLERANCE = 0.1
"""In half precision and with packed weights both sides round: only a gross difference shows."""
"""Relative to the largest logit. Decoders with peaked attention differ by 1e-5 or by 1e-1."""
CausalAttention = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Takes queries, keys, values and scale, as `causal_attention` does."""


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
    """Let `step` attend. The signature is that of transformers' AttentionInterface. Raises
    ValueError for a feature of attention that no step implements.
    """
    for feature in _EXACT_WITHOUT:
        if extra.get(feature) is not None:
            raise ValueError(f"attention with {feature}={extra[feature]!r} is not supported")
    layer: int = module.layer_idx  # type: ignore[assignment]
    output = step.attend(layer, query[0], key[0], value[0], scaling)
    return output.transpose(0, 1)[None], None


def register_attention() -> None:
    """Register `stream_attention` with transformers as ATTENTION_NAME; repeating is harmless. It
    has no mask function on purpose: without one, transformers makes no mask; with one, it would
    read position ids that are all 0 as packed sequences.
    """
    from transformers import AttentionInterface  # takes seconds: only to load a model

    AttentionInterface.register(ATTENTION_NAME, stream_attention)


def grouped_attention(
    queries: Float[Tensor, "heads q_tokens head_dim"],
    keys: Float[Tensor, "kv_heads k_tokens head_dim"],
    values: Float[Tensor, "kv_heads k_tokens v_dim"],
    scale: float,
    mask: Bool[Tensor, "q_tokens k_tokens"] | None,
) -> Float[Tensor, "heads q_tokens v_dim"]:
    """Attend with grouped queries, whose heads lie along the query axis; True in `mask` attends."""
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
    """Apply `grouped_attention` from the newest tokens to themselves and all before them."""
    mask = causal_mask(queries.shape[1], keys.shape[1], keys.device)
    return grouped_attention(queries, keys, values, scale, mask)


def attention_mass(
    queries: Float[Tensor, "heads q_tokens head_dim"],
    keys: Float[Tensor, "kv_heads k_tokens head_dim"],
    scale: float,
) -> Float[Tensor, "kv_heads k_tokens"]:
    """Sum how much `causal_attention` attends to each key, over queries and a group's heads."""
    kv_heads, k_tokens, head_dim = keys.shape
    q_tokens = queries.shape[1]
    scores = queries.reshape(kv_heads, -1, head_dim).float() @ keys.float().transpose(1, 2) * scale
    mask = causal_mask(q_tokens, k_tokens, keys.device)
    if mask is not None:
        mask = mask.repeat(len(queries) // kv_heads, 1)
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1).sum(dim=1)


def causal_mask(
    q_tokens: int, k_tokens: int, device: torch.device
) -> Bool[Tensor, "q_tokens k_tokens"] | None:
    """Return the mask aligned to the last key: query i sees keys up to k_tokens - q_tokens + i."""
    if q_tokens == 1:
        return None
    mask = torch.ones(q_tokens, k_tokens, dtype=torch.bool, device=device)
    return mask.tril(diagonal=k_tokens - q_tokens)


class Decoder:
    """The language model of a Video-LLM, behind the attention hook. Stateless: everything that a
    stream or a question remembers lives in the steps.
    """

    def __init__(
        self, model: "PreTrainedModel", attend_causally: CausalAttention = causal_attention
    ) -> None:
        """Adopt and change `model`: from now on its text attention goes through steps, which attend
        by `attend_causally`. Raises ModelError if the hook cannot drive this decoder exactly.
        """
        config = model.config.get_text_config()
        self._decoder: nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]
        self._head: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._embed: nn.Module = model.get_input_embeddings()
        self.num_layers: int = config.num_hidden_layers
        self.num_heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = (
            getattr(config, "head_dim", None) or config.hidden_size // self.num_heads
        )
        self.d_model: int = config.hidden_size
        self.max_positions: int = config.max_position_embeddings
        self.device = model.device
        self.dtype = model.dtype
        packing = getattr(model.config, "quantization_config", None)
        method = getattr(packing, "quant_method", "")
        self.quantised_by: str = getattr(method, "value", method)
        self.attend_causally = attend_causally
        name = f"{model.config.model_type} ({type(model).__name__})"
        try:
            self.rope: Rope = rope_of(self._decoder.rotary_emb, config)
        except (AttributeError, KeyError, ValueError) as error:
            raise ModelError(_refusal(name, f"its RoPE cannot be reproduced: {error}")) from error
        self.num_axes = int(self.rope.axis_of_frequency.max()) + 1
        random = torch.Generator().manual_seed(0)
        shape = (self.num_axes, SELF_CHECK_TOKENS)
        tokens = torch.randint(config.vocab_size, shape[1:], generator=random).to(self.device)
        positions = torch.randint(3, shape, generator=random).cumsum(dim=1).to(self.device)
        wanted = self._plain_logits(tokens, positions, name)
        register_attention()
        nested = "text_config" in model.config.sub_configs  # a vision tower keeps its own attention
        model.set_attn_implementation({"text_config": ATTENTION_NAME} if nested else ATTENTION_NAME)
        self._compare(tokens, positions, wanted, name)

    @torch.inference_mode()
    def forward(
        self,
        embeddings: Float[Tensor, "tokens d_model"],
        step: Step,
        is_visual: Bool[Tensor, " tokens"] | None = None,
        deepstack: Float[Tensor, "depth visual d_model"] | None = None,
    ) -> Float[Tensor, "tokens d_model"]:
        """Run all layers with `step`'s attention; return the hidden states after the last norm."""
        zeros = torch.zeros(1, len(embeddings), dtype=torch.long, device=self.device)
        features: dict[str, object] = {}
        if deepstack is not None and is_visual is not None:
            features["visual_pos_masks"] = is_visual[None]
            features["deepstack_visual_embeds"] = list(deepstack)
        output = self._decoder(
            inputs_embeds=embeddings[None],
            position_ids=zeros,
            use_cache=False,
            step=step,
            **features,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Float[Tensor, "tokens d_model"]) -> Float[Tensor, "tokens vocabulary"]:
        logits: Tensor = self._head(hidden)
        return logits

    def embed(self, token_ids: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens d_model"]:
        embeddings: Tensor = self._embed(token_ids)
        return embeddings

    @torch.inference_mode()
    def _plain_logits(
        self, tokens: Int[Tensor, " tokens"], positions: Int[Tensor, "axes tokens"], name: str
    ) -> Float[Tensor, "tokens vocabulary"]:
        everything_before = torch.ones(2 * tokens.shape, dtype=torch.bool).tril()
        try:
            hidden = self._decoder(
                inputs_embeds=self._embed(tokens)[None],
                position_ids=positions[:, None] if len(positions) > 1 else positions,
                # Given: transformers would take a mask's gaps in positions for packed sequences.
                attention_mask=everything_before.to(tokens.device)[None, None],
                use_cache=False,
            ).last_hidden_state[0]
            logits: Tensor = self._head(hidden)
        except (ArithmeticError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(_refusal(name, f"it has no ordinary decoder: {error}")) from error
        return logits

    @torch.inference_mode()
    def _compare(self, tokens: Tensor, positions: Tensor, wanted: Tensor, name: str) -> None:
        """Compare the hook with plain attention, on random tokens at random rising positions."""
        try:
            logits = self.logits(self.forward(self.embed(tokens), PlainStep(self, positions)))
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(_refusal(name, str(error))) from error
        difference = float((logits - wanted).abs().max() / wanted.abs().max())
        is_exact = self.dtype == torch.float32 and not self.quantised_by
        tolerance = SELF_CHECK_TOLERANCE if is_exact else _ROUNDED_TOLERANCE
        if not difference <= tolerance:
            reason = f"logits differ by {difference:.1e} of the largest, more than {tolerance:g}"
            raise ModelError(_refusal(name, reason))


class PlainStep:
    """Plain causal attention over the given tokens, behind `past` ones; keeps keys and values. All
    keys are as before RoPE; `positions` are those of past and given tokens.
    """

    def __init__(
        self,
        decoder: Decoder,
        positions: Int[Tensor, "axes tokens"],
        past: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        self._decoder = decoder
        self._positions = positions
        self._past = past
        self.captured: list[tuple[Tensor, Tensor]] = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.captured.append((keys, values))
        if self._past:
            past_keys, past_values = self._past[layer]
            keys = torch.cat([past_keys, keys], dim=1)
            values = torch.cat([past_values, values], dim=1)
        rotate, own = self._decoder.rope.rotate, self._positions[:, -queries.shape[1] :]
        seen = rotate(keys, self._positions)
        return self._decoder.attend_causally(rotate(queries, own), seen, values, scale)


def _refusal(name: str, reason: str) -> str:
    return (
        f"unsupported decoder {name}: the attention hook is not exact for it ({reason}). "
        "Use a decoder of the Llama, Qwen2 or Qwen3 kind."
    )
