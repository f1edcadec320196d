"""Free memory: returns freed memory to the system, which the C library would hold on to.

The small objects that a memory keeps for hours end up between the tensors that come and go while a
stream is encoded. glibc holds on to the pages in between, and resident memory grows by twice what
is kept (`python -m eval speed engine` prints it). Keeping large tensors apart for good
(M_MMAP_THRESHOLD) avoids that too, at the price of page faults in every chunk.
"""

import ctypes
import gc
import sys

_M_ARENA_MAX = -8
_MOST_ARENAS = 2


def bound_arenas() -> None:
    """Make all threads allocate from a few heaps (glibc; elsewhere does nothing).

    A service has a thread for each camera and each asker. glibc would give each its own heap, and
    no thread could use what another has freed.
    """
    _call_glibc("mallopt", _M_ARENA_MAX, _MOST_ARENAS)


def leave_out_of_collections() -> None:
    """Exempt everything that exists now from Python's garbage collection.

    A full collection runs only when a quarter of all objects are new. Beside the million objects of
    torch and a page, hundreds of thousands of dead objects in cycles would wait for that: a page
    leaves some for every picture.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # counts what is left: a quarter of that is soon reached


def return_free_memory() -> None:
    """Return it at once. Does nothing if the C library has no malloc_trim."""
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *values: int) -> None:
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), name):
        getattr(libc, name)(*values)
