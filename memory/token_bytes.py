"""Convert the visual tokens of a block to bytes and back, for policies that read them again."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load, save
from torch import Tensor

from memory.policy_hooks import Tokens

_TENSORS = ("embeddings", "positions", "advance", "is_visual")


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """The tokens of a block, on the host."""

    embeddings: Float[Tensor, "tokens d_model"]
    positions: Int[Tensor, "axes tokens"]
    advance: Int[Tensor, " axes"]
    is_visual: Bool[Tensor, " tokens"]
    start_s: float
    end_s: float
    deepstack: Float[Tensor, "depth visual d_model"] | None = None


def tokens_to_bytes(tokens: Tokens) -> bytes:
    """Serialize exactly, in the tokens' own dtype."""
    tensors = {name: getattr(tokens, name) for name in _TENSORS}
    if tokens.deepstack is not None:
        tensors["deepstack"] = tokens.deepstack
    tensors["times"] = torch.tensor([tokens.start_s, tokens.end_s], dtype=torch.float64)
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def tokens_of(data: bytes) -> KeptTokens:
    """Return what was passed to `tokens_to_bytes`."""
    tensors = load(data)
    start_s, end_s = tensors.pop("times").tolist()
    return KeptTokens(**tensors, start_s=start_s, end_s=end_s)
