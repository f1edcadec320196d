"""Blocks in append-only files of a folder: the store of `file:///DIR`."""
