"""Blocks in append-only files in a folder: the store of `file:///DIR`."""

from memory.tiers.file.in_files import InFiles

__all__ = ["InFiles"]
