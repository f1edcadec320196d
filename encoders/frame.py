"""Frame: one RGB picture and the moment it shows; every source delivers frames."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded picture. `pixels` are RGB. `stream_s` is the position in the stream in seconds (0
    at its start, never going back within a stream, continuing across reconnects). `captured_at` is
    the wall-clock time of capture in seconds since the epoch, UTC.
    """

    pixels: UInt8[np.ndarray, "height width 3"] = field(repr=False)
    stream_s: float
    captured_at: float


NO_PICTURE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class TextToken(Frame):
    """A frame of a text stream: one token, without a picture."""

    token_id: int
