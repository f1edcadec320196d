"""OnceRenderer draws a moment once, however often it is asked for it: contenders watch the same."""

from contextlib import contextmanager
from functools import lru_cache

import pytest

from eval.stream_world import Renderer


@lru_cache(1024)
def _drawn(side_px, moment):
    return Renderer(side_px).frame(moment)


class OnceRenderer(Renderer):
    """To be used where nobody writes to a frame."""

    def frame(self, moment):
        return _drawn(self.side_px, moment)


@contextmanager
def streams_drawn_once():
    """Meanwhile the streams of the benchmark come from it, in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("eval.stream_benchmark.world_video.Renderer", OnceRenderer)
        yield
