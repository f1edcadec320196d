"""without_stubs: a scope in which importing Gradio writes no stubs for editors.

Gradio (6.31) writes one beside each of its sources. When they are there, it still parses all of
them again at every import, which is two of its three seconds. It leaves a component out if the
file that has it is not found.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITES_STUBS = "gradio.component_meta"


@contextmanager
def without_stubs() -> Iterator[None]:
    """For whatever this process imports meanwhile."""
    getfile = inspect.getfile

    def found(thing: Any) -> str:
        if sys._getframe(1).f_globals["__name__"] == _WRITES_STUBS:
            raise OSError("without stubs")
        return getfile(thing)

    inspect.getfile = found  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = getfile
