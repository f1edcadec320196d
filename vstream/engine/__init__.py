"""The streaming KV engine: visual tokens to KV blocks, and questions over retrieved blocks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
