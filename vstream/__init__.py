"""The streaming engine: sessions over streams, with one model for all of them."""

import warnings
from typing import Any

import lazy_loader

_find, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "Watch":
        warnings.warn(
            "Watch is called Alert now, and by this name until 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        name = "Alert"
    return _find(name)
