"""Exact: every number in the dtype in which its block was made."""

from memory.rows.float_codec import FloatCodec


class Exact(FloatCodec):
    """Loses nothing."""

    name = "exact"
