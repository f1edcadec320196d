"""The stream-world benchmark: policies of memory compared on unseen streams with exact answers."""

from eval.stream_benchmark.command import stream_world

__all__ = ["stream_world"]
