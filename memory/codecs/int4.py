"""Int4: half a byte a number, in smaller groups."""

from memory.rows.integer_codec import IntegerCodec


class Int4(IntegerCodec):
    """What blocks become as they age."""

    name = "int4"
    bits = 4
    max_group_tokens = 64
    max_group_dims = 32
    values_by_channel = True
