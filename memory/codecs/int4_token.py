"""Int4Token: four bits per number, and one scale for each token and head, for blocks of few tokens.

With so few tokens, scales per channel would cost more than the codes. Such scales are needed for
offsets that all tokens of a block share; here those are in its index vector, stored anyway.
"""

from memory.rows.integer_codec import IntegerCodec


class Int4Token(IntegerCodec):
    """For blocks that a memory policy has cut down to their most important tokens."""

    name = "int4_token"
    bits = 4
    has_zero = False
    keys_by_token = True
    is_small = True
