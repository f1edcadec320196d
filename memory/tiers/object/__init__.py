"""Blocks in sealed segments of an object store: `s3://BUCKET/PREFIX`, `gs://`, `object:///DIR`."""

from memory.tiers.object.in_objects import InObjects

__all__ = ["InObjects"]
