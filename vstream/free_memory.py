"""return_free_memory: give freed memory back to the system that the C library still holds.

The small things that a memory keeps for hours come to lie between the tensors that come and go
while a stream is encoded. glibc holds on to the pages in between, and resident memory grows by
twice what is kept (`python -m eval speed` prints it). Keeping large tensors apart for good
(M_MMAP_THRESHOLD) avoids it too, at the price of page faults in every chunk.
"""

import ctypes
import sys


def return_free_memory() -> None:
    """Do nothing where the C library has no malloc_trim."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
