"""is_faster_in_half: a device in, whether training there gains by bfloat16 out, found by measuring.

A processor without instructions for it computes the same products fifty times as slowly as in
float32, and no name or flag says so on all of them.
"""

import time

import torch

_ROWS, _WIDTH = 512, 256
_ROUNDS = 3


def is_faster_in_half(device: str) -> bool:
    """Always on a card; on a processor if products in bfloat16 take no longer than in float32."""
    if torch.device(device).type != "cpu":
        return True
    return _product_s(torch.bfloat16) <= _product_s(torch.float32)


def _product_s(dtype: torch.dtype) -> float:
    """The shortest of a few."""
    left, right = torch.ones(_ROWS, _WIDTH, dtype=dtype), torch.ones(_WIDTH, _WIDTH, dtype=dtype)
    spent = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        left @ right
        spent.append(time.perf_counter() - began)
    return min(spent)
