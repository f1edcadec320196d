"""Int2: two bits per number, in the groups of int4."""

from memory.rows.integer_codec import IntegerCodec


class Int2(IntegerCodec):
    """Four levels, for blocks whose gist is enough."""

    name = "int2"
    bits = 2
    max_group_tokens = 64
    max_group_dims = 32
    values_by_channel = True
