"""Fp4: four-bit floating-point numbers.

Source: LLM-FP4 (Liu et al., EMNLP 2023, arXiv 2310.16836), section 3: a number is a sign and E2M1,

    0, 0.5, 1, 1.5, 2, 3, 4, 6

times a scale, found by searching for the least squared error. Differs from the paper: the error is
that of a group's own numbers, not of a layer's outputs; keys share a scale along the tokens and
values along the channels, as in `int4`; and each group has a zero point, which removes what its
numbers have in common. Clipping costs no number more than half of the largest step.
"""

import torch
from torch import Tensor

from memory.rows.integer_codec import IntegerCodec

_NUMBERS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
_BETWEEN = (_NUMBERS[1:] + _NUMBERS[:-1]) / 2
_LARGEST = 6
_SHARES = (1.0, 1.15, 1.1, 1.05, 0.96, 0.92, 0.88)
"""Candidate places of 6, as shares of a group's range; the first of equals wins."""


class Fp4(IntegerCodec):
    """As many bytes as int4; finer near zero, coarser far from it."""

    name = "fp4"
    bits = 4
    max_group_tokens = 64
    max_group_dims = 32

    def fitted(self, grouped: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        zero, reach = self._middle(grouped, axis)
        wanted = grouped - zero
        sign, between = (wanted < 0).to(torch.uint8) << 3, _BETWEEN.to(grouped.device)
        numbers = _NUMBERS.to(grouped.device)
        least, best, codes = torch.full_like(reach, torch.inf), zero, sign
        for share in _SHARES:
            scale = (reach * (share / _LARGEST)).half().clamp_min(2**-24)
            found = torch.bucketize((wanted / scale.float()).abs().contiguous(), between)
            cost = (numbers[found] * scale - wanted.abs()).square().sum(axis, keepdim=True)
            is_better = cost < least
            least, best = torch.where(is_better, cost, least), torch.where(is_better, scale, best)
            codes = torch.where(is_better, found.to(torch.uint8) | sign, codes)
        return best, zero, codes

    def numbers(self, codes: Tensor, scale: Tensor, zero: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat((_NUMBERS, -_NUMBERS)).to(codes.device)
        return both[codes.int()], zero
