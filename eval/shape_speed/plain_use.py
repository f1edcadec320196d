"""PlainUse: a model as transformers has it in, what one would write without vstream measured.

One frame a call, transformers' own DynamicCache and attention, no memory: a question about the past
encodes its frames anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from encoders import Family, Frame
from eval.shape_speed.device_rates import timed_s

_ROUNDS = 3
_TOKENS = 8
_FRAMES_A_CALL = 16
"""Of the tower, where all frames are there."""


@dataclass(frozen=True)
class PlainSpeed:
    """Seconds."""

    frame_s: float
    first_token_s: float
    token_s: float


class PlainUse:
    """Measures before anything of `model` is changed."""

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        self._model = model
        self._family = family
        self._decoder = model.get_decoder()  # type: ignore[no-untyped-call]
        self._head = model.get_output_embeddings()  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def measure(
        self, frames: Sequence[Frame], window_tokens: int, question_tokens: int
    ) -> PlainSpeed:
        """`frames` are all that the question and its answer see; one that is ingested sees
        `window_tokens`.
        """
        size, device = self._family.frames_per_block, self._model.device
        groups = [frames[i : i + size] for i in range(0, len(frames) - size + 1, size)]
        (block,) = self._family.encode(groups[:1])
        cache = self._filled(window_tokens)
        frame_s = timed_s(lambda: self._ingest(groups[0], cache), device, _ROUNDS) / size
        first_token_s = timed_s(lambda: self._first_token(groups, question_tokens), device, 1)
        cache = self._filled(len(groups) * len(block.embeddings) + question_tokens)
        token_s = timed_s(lambda: self._decode(cache), device, _ROUNDS) / _TOKENS
        return PlainSpeed(frame_s, first_token_s, token_s)

    def _filled(self, tokens: int) -> DynamicCache:
        """A cache of random numbers."""
        config = self._model.config.get_text_config()
        head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        shape = (1, config.num_key_value_heads, tokens, head_dim)
        cache = DynamicCache()
        for layer in range(config.num_hidden_layers):
            keys, values = (
                torch.randn(shape, device=self._model.device, dtype=self._model.dtype)
                for _ in range(2)
            )
            cache.update(keys, values, layer)
        return cache

    def _ingest(self, group: Sequence[Frame], cache: DynamicCache) -> None:
        (tokens,) = self._family.encode([group])
        self._forward(tokens.embeddings, cache)
        cache.crop(-len(tokens.embeddings))

    def _first_token(self, groups: Sequence[Sequence[Frame]], question_tokens: int) -> None:
        """Tower and decoder over all frames and the question."""
        cache = DynamicCache()
        parts: list[Tensor] = []
        for start in range(0, len(groups), _FRAMES_A_CALL):
            encoded = self._family.encode(groups[start : start + _FRAMES_A_CALL])
            parts += [block.embeddings for block in encoded]
        question = parts[0][:1].expand(question_tokens, -1)
        hidden = self._forward(torch.cat([*parts, question]), cache)
        self._head(hidden[-1:]).argmax()

    def _decode(self, cache: DynamicCache) -> None:
        embed = self._model.get_input_embeddings()
        token = torch.zeros(1, dtype=torch.long, device=self._model.device)
        for _ in range(_TOKENS):
            token = self._head(self._forward(embed(token), cache)[-1:]).argmax(-1)
            token.item()  # as whoever looks for the end of an answer does
        cache.crop(-_TOKENS)

    def _forward(self, embeddings: Tensor, cache: DynamicCache) -> Tensor:
        output = self._decoder(
            inputs_embeds=embeddings[None], past_key_values=cache, use_cache=True
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden
