"""What clients push who mean a service no good: bombs, half messages, and no WebSocket at all."""

import socket
import struct
from contextlib import suppress

from one_thing import thing_jpeg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

MOST_BYTES = 1 << 20
"""For `max_body_bytes` of a service, which some of it exceeds."""
GOOD = thing_jpeg("owl")


def bombs(rng):
    """Binary messages that are no good pictures."""
    cut = GOOD[: rng.randrange(len(GOOD))]
    flipped = bytearray(GOOD)
    for _ in range(rng.randrange(1, 200)):
        flipped[rng.randrange(2, len(flipped))] = rng.randrange(256)
    size = GOOD.index(b"\xff\xc0") + 5
    giant = bytearray(GOOD)
    giant[size : size + 4] = struct.pack(">HH", 65_500, 65_500)
    return [
        b"",
        rng.randbytes(rng.randrange(1, 5000)),
        cut,
        bytes(flipped),
        bytes(giant),
        GOOD[:2] + b"\xff\xda" * 1000,
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n" + rng.randbytes(200),
        b"GIF89a" + rng.randbytes(200),
        GOOD + rng.randbytes(100_000),
        b"\xff\xd8" + rng.randbytes(MOST_BYTES - 10_000),
    ]


def hang_up(url, rng, headers=None):
    """Leave in the middle of a message, without a goodbye."""
    with suppress(OSError, ConnectionClosed), connect(url, additional_headers=headers) as client:
        client.send(GOOD)
        raw = client.socket
        raw.send(b"\x82\xfe" + struct.pack(">H", 60_000) + b"mask" + rng.randbytes(1000))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()


def break_the_protocol(url, rng, headers=None):
    """Frames that no WebSocket has, and messages that are too large."""
    for raw in (rng.randbytes(200), b"\x83\x80mask", b"\x82\xff" + b"\xff" * 8 + b"mask"):
        with (
            connect(url, additional_headers=headers) as client,
            suppress(ConnectionClosed, OSError),
        ):
            client.socket.send(raw)
            client.socket.shutdown(socket.SHUT_WR)
            while True:
                client.recv(timeout=20)
