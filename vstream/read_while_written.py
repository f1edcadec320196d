"""read_while_written: something that reads a memory in, what it gives out, though others write."""

from collections.abc import Callable
from typing import TypeVar

from memory import BlockLostError, BlockNotFoundError

Reply = TypeVar("Reply")
_ATTEMPTS = 3


def read_while_written(read: Callable[[], Reply]) -> Reply:
    """What `read` gives, tried again where a block that it had seen is gone.

    The writer may let a block go between the look at what there is and the reading of it. Raises
    BlockNotFoundError if that happens every time. A block that turns out to be damaged is not seen
    the next time; that comes to an end by itself.
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
