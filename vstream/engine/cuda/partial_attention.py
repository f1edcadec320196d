"""Attention over a part of the keys: output and log-sum-exp out; of several parts, that over all.

Source: Hydragen (https://arxiv.org/abs/2402.05099, section 3.1): softmax over keys that lie in
parts is the mean of the parts' outputs, each weighted by its share of the sum of exponentials.

    output = sum_p exp(lse_p - lse) * output_p        lse = log sum_p exp(lse_p)

Plain matrix products, because a fused kernel that has one query and few key heads keeps most of a
card idle, and because torch's own does not tell the log-sum-exp.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PartialAttention:
    """What queries make of some of the keys; `lse` is -inf where a query sees none of them."""

    output: Float[Tensor, "*batch queries v_dim"]
    lse: Float32[Tensor, "*batch queries 1"]


def attend_to_part(
    queries: Float[Tensor, "*batch queries head_dim"],
    keys: Float[Tensor, "*batch keys head_dim"],
    values: Float[Tensor, "*batch keys v_dim"],
    is_seen: Bool[Tensor, "..."],
    scale: float,
) -> PartialAttention:
    """`is_seen` can be broadcast to [*batch, queries, keys]. What nobody sees must be finite."""
    scores = _products(queries, keys) * scale
    scores = scores.masked_fill(~is_seen, -torch.inf)
    lse = scores.logsumexp(dim=-1, keepdim=True)
    weights = (scores - lse.clamp(min=torch.finfo(torch.float32).min)).exp()
    return PartialAttention(weights.to(values.dtype) @ values, lse)


def _products(
    queries: Float[Tensor, "*batch queries head_dim"], keys: Float[Tensor, "*batch keys head_dim"]
) -> Float32[Tensor, "*batch queries keys"]:
    """Of each query and each key, in float32 however they are kept, as fused kernels have it."""
    turned = keys.transpose(-1, -2)
    if not queries.is_cuda or queries.dtype == torch.float32:
        return queries.float() @ turned.float()
    flat = torch.bmm(queries.flatten(0, -3), turned.flatten(0, -3), out_dtype=torch.float32)
    products: Tensor = flat.unflatten(0, queries.shape[:-2])
    return products


def joined(parts: Sequence[PartialAttention]) -> Float[Tensor, "*batch queries v_dim"]:
    """Attention over the keys of all parts together. Each query sees a key in one of them."""
    if len(parts) == 1:
        return parts[0].output
    lse = reduce(torch.logaddexp, (part.lse for part in parts))
    total = sum(part.output.float() * (part.lse - lse).exp() for part in parts)
    assert isinstance(total, Tensor)
    return total.to(parts[0].output.dtype)
