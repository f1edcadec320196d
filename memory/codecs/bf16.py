"""Bf16: stores every number as a bfloat16."""

import torch

from memory.rows.float_codec import FloatCodec


class Bf16(FloatCodec):
    """Holds numbers beyond float16's range."""

    name = "bf16"
    kept = torch.bfloat16
