"""Attention over part of the keys, with its log-sum-exp; parts join into attention over all keys.

Source: Hydragen (https://arxiv.org/abs/2402.05099, section 3.1): softmax over keys that lie in
parts is the mean of the parts' outputs, each weighted by its share of the sum of exponentials.

    output = sum_p exp(lse_p - lse) * output_p        lse = log sum_p exp(lse_p)

The products are plain, because a fused kernel with one query and few key heads leaves most of a GPU
idle, and because torch's own does not return the log-sum-exp.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PartialAttention:
    """Attention over some of the keys; `lse` is -inf where a query sees none of them."""

    output: Float[Tensor, "*batch queries v_dim"]
    lse: Float32[Tensor, "*batch queries 1"]


def attend_to_part(
    queries: Float[Tensor, "*batch queries head_dim"],
    keys: Float[Tensor, "*batch keys head_dim"],
    values: Float[Tensor, "*batch keys v_dim"],
    is_seen: Bool[Tensor, "..."],
    scale: float,
) -> PartialAttention:
    """`is_seen` broadcasts to [*batch, queries, keys]. Keys that nobody sees must be finite."""
    scores = _products(queries, keys) * scale
    scores = scores.masked_fill(~is_seen, -torch.inf)
    lse = scores.logsumexp(dim=-1, keepdim=True)
    weights = (scores - lse.clamp(min=torch.finfo(torch.float32).min)).exp()
    return PartialAttention(weights.to(values.dtype) @ values, lse)


def _products(
    queries: Float[Tensor, "*batch queries head_dim"], keys: Float[Tensor, "*batch keys head_dim"]
) -> Float32[Tensor, "*batch queries keys"]:
    """Multiply queries and keys in float32, whatever their dtype, as fused kernels do."""
    turned = keys.transpose(-1, -2)
    if not queries.is_cuda or queries.dtype == torch.float32:
        return queries.float() @ turned.float()
    flat = torch.bmm(queries.flatten(0, -3), turned.flatten(0, -3), out_dtype=torch.float32)
    products: Tensor = flat.unflatten(0, queries.shape[:-2])
    return products


def joined(parts: Sequence[PartialAttention]) -> Float[Tensor, "*batch queries v_dim"]:
    """Return attention over the keys of all parts. Each query sees a key in at least one."""
    if len(parts) == 1:
        return parts[0].output
    lse = reduce(torch.logaddexp, (part.lse for part in parts))
    total = sum(part.output.float() * (part.lse - lse).exp() for part in parts)
    assert isinstance(total, Tensor)
    return total.to(parts[0].output.dtype)
