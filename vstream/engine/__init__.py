"""The streaming KV engine: visual tokens become KV blocks; questions read those retrieved."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
