"""read_while_written: reads a memory while others write it, and tries again if a block vanishes."""

from collections.abc import Callable
from typing import TypeVar

from memory import BlockLostError, BlockNotFoundError

Reply = TypeVar("Reply")
_ATTEMPTS = 3


def read_while_written(read: Callable[[], Reply]) -> Reply:
    """Return what `read` returns; try again if a block that it had seen is gone.

    The writer may drop a block between the look at what there is and the read. Raises
    BlockNotFoundError if that happens every time. A block that turns out to be damaged is not seen
    the next time, so retrying for that ends by itself.
    """
    attempts_left = _ATTEMPTS
    while True:
        try:
            return read()
        except BlockLostError:
            continue
        except BlockNotFoundError:
            attempts_left -= 1
            if not attempts_left:
                raise
