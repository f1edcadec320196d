"""measure_plain: times what one would write without vstream, on a model as transformers has it.

One frame per call, transformers' own DynamicCache and attention, no memory: a question about the
past encodes all of its frames. Measure before changing anything in the model.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from encoders import Family, Frame
from eval.speed.floors import timed_s
from eval.speed.questions import QUESTION_TOKENS

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

_ROUNDS = 3
_TOKENS = 8
_FRAMES_A_CALL = 16


class PlainSpeed(NamedTuple):
    frame_s: float
    first_token_s: float
    token_s: float


@torch.inference_mode()
def measure_plain(
    model: "PreTrainedModel", family: Family, frames: Sequence[Frame], window_tokens: int
) -> PlainSpeed:
    """A question sees all `frames`; an ingested frame sees `window_tokens`."""
    from transformers import DynamicCache  # seconds

    size, device = family.frames_per_block, model.device
    groups = [frames[i : i + size] for i in range(0, len(frames) - size + 1, size)]
    decoder, head = model.get_decoder(), model.get_output_embeddings()  # type: ignore[no-untyped-call]

    def forward(embeddings: Tensor, cache: "DynamicCache") -> Tensor:
        output = decoder(inputs_embeds=embeddings[None], past_key_values=cache, use_cache=True)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def encoded(some: Sequence[Sequence[Frame]]) -> Tensor:
        return torch.cat([block.embeddings for block in family.encode(some)])

    def ingest() -> None:
        tokens = encoded(groups[:1])
        forward(tokens, window)
        window.crop(-len(tokens))

    def first_token() -> None:
        """Tower and decoder over all frames and the question."""
        starts = range(0, len(groups), _FRAMES_A_CALL)
        seen = torch.cat([encoded(groups[start : start + _FRAMES_A_CALL]) for start in starts])
        question = seen[:1].expand(QUESTION_TOKENS, -1)
        head(forward(torch.cat([seen, question]), DynamicCache())[-1:]).argmax()

    def decode() -> None:
        token = torch.zeros(1, dtype=torch.long, device=device)
        for _ in range(_TOKENS):
            token = head(forward(model.get_input_embeddings()(token), context)[-1:]).argmax(-1)
            token.item()  # as a check for the end of an answer would
        context.crop(-_TOKENS)

    window = _filled(model, window_tokens)
    context = _filled(model, len(groups) * len(encoded(groups[:1])) + QUESTION_TOKENS)
    return PlainSpeed(
        timed_s(ingest, device, _ROUNDS) / size,
        timed_s(first_token, device, 1),
        timed_s(decode, device, _ROUNDS) / _TOKENS,
    )


def _filled(model: "PreTrainedModel", tokens: int) -> "DynamicCache":
    from transformers import DynamicCache

    config = model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = (1, config.num_key_value_heads, tokens, head_dim)
    cache = DynamicCache()
    for layer in range(config.num_hidden_layers):
        keys, values = torch.randn(2, *shape, device=model.device, dtype=model.dtype)
        cache.update(keys, values, layer)
    return cache
