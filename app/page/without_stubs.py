"""without_stubs: import Gradio without its writing stubs for editors.

Gradio (6.31) writes a stub next to each of its sources, and parses all of them again at every
import, which takes two of its three seconds. It skips a component whose source file it cannot find.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITES_STUBS = "gradio.component_meta"


@contextmanager
def without_stubs() -> Iterator[None]:
    """Applies to everything this process imports meanwhile."""
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
