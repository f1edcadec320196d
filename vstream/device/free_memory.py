"""Free memory: what was freed goes back to the system, though the C library would hold on to it.

The small things that a memory keeps for hours come to lie between the tensors that come and go
while a stream is encoded. glibc holds on to the pages in between, and resident memory grows by
twice what is kept (`python -m eval speed engine` prints it). Keeping large tensors apart for good
(M_MMAP_THRESHOLD) avoids it too, at the price of page faults in every chunk.
"""

import ctypes
import gc
import sys

_M_ARENA_MAX = -8
_MOST_ARENAS = 2


def bound_arenas() -> None:
    """Have all threads allocate from few heaps (glibc; elsewhere nothing). A service has a thread
    for each camera and each asker. With a heap for each of them, as glibc has it, what one thread
    frees another cannot use.
    """
    _call_glibc("mallopt", _M_ARENA_MAX, _MOST_ARENAS)


def leave_out_of_collections() -> None:
    """Let Python's collector look through what is made from now on alone.

    It looks at everything only when a quarter of it is new. Beside the million objects of torch and
    a page, hundreds of thousands of others, which refer to one another and are of no use any more,
    wait for that: a page leaves some for every picture.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # counts what is left, of which a quarter is not much


def return_free_memory() -> None:
    """Give it back at once. Do nothing where the C library has no malloc_trim."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *values: int) -> None:
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), name):
        getattr(libc, name)(*values)
