"""Int2Token: two bits per number, and one scale for each token and head.

With four levels, the outer two should not lie at the largest number: the rest would share the other
two. So the codec tries several scales and takes the one of least squared error.
"""

import torch
from torch import Tensor

from memory.rows.integer_codec import IntegerCodec

_SHARES = [share / 16 for share in range(6, 17)]
"""Candidate places of the outer levels, as shares of the group's largest number."""


class Int2Token(IntegerCodec):
    """Like `int4_token`, with twice the tokens in the same bytes."""

    name = "int2_token"
    bits = 2
    has_zero = False
    keys_by_token = True
    is_small = True

    def fitted(self, grouped: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        levels = 2**self.bits - 1
        largest = grouped.abs().amax(axis, keepdim=True)
        shares = torch.tensor(_SHARES, device=grouped.device).view(-1, *[1] * grouped.ndim)
        scales = (largest * shares * (2 / levels) + 2**-24).half()
        steps = (grouped / scales.float()).add_(levels / 2).round_().clamp_(0, levels)
        errors = ((steps - levels / 2) * scales.float() - grouped).square().sum(axis, keepdim=True)
        best = errors.argmin(dim=0, keepdim=True)
        codes = torch.take_along_dim(steps, best, dim=0)[0].to(torch.uint8)
        scale = torch.take_along_dim(scales, best, dim=0)[0]
        return scale, torch.zeros_like(scale), codes
