"""Bf16: every number as a bfloat16."""

import torch

from memory.rows.float_codec import FloatCodec


class Bf16(FloatCodec):
    """Keeps numbers that are beyond float16."""

    name = "bf16"
    kept = torch.bfloat16
