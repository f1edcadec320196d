"""Int8: one byte a number."""

from memory.rows.integer_codec import IntegerCodec


class Int8(IntegerCodec):
    """The default."""

    name = "int8"
    bits = 8
