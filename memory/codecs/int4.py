"""Int4: four bits per number, in smaller groups."""

from memory.rows.integer_codec import IntegerCodec


class Int4(IntegerCodec):
    """The codec of blocks that have aged."""

    name = "int4"
    bits = 4
    max_group_tokens = 64
    max_group_dims = 32
    values_by_channel = True
