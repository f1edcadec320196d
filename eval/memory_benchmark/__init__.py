"""The memory benchmark: what a memory costs in bytes, and what answers lose by it."""
