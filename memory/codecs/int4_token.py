"""Int4Token: half a byte a number, and one scale for each token and head: for blocks of few tokens.

Scales of channels cost more than the codes of so few tokens. What makes scales of channels needed,
offsets that all tokens of a block share, is in its index vector, which is kept anyway.
"""

from memory.rows.integer_codec import IntegerCodec


class Int4Token(IntegerCodec):
    """What becomes of a block that a memory policy has cut down to the tokens that matter."""

    name = "int4_token"
    bits = 4
    has_zero = False
    keys_by_token = True
    is_small = True
