"""return_free_memory: give freed memory back to the system that the C library still holds.

The small things that a memory keeps for hours come to lie between the tensors that come and go
while a stream is encoded. glibc holds on to the pages in between, and resident memory grows by
twice what is kept. Keeping large tensors apart (M_MMAP_THRESHOLD) avoids it too, but was measured
to cost a quarter of the ingest rate in page faults; trimming now and then costs nothing that shows.
"""

import ctypes
import sys


def return_free_memory() -> None:
    """Do nothing where the C library has no malloc_trim."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
