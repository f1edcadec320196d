"""Int8: one byte per number."""

from memory.rows.integer_codec import IntegerCodec


class Int8(IntegerCodec):
    """The default codec."""

    name = "int8"
    bits = 8
