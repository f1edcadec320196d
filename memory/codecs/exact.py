"""Exact: stores every number in its block's own dtype."""

from memory.rows.float_codec import FloatCodec


class Exact(FloatCodec):
    """Lossless."""

    name = "exact"
