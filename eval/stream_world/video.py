"""Video: a script in, an mp4 file out, at any frame rate."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from eval.stream_world.renderer import Renderer
from eval.stream_world.script import Moment, Script


def write_video(path: Path, script: Script, fps: int, side_px: int, quality: int = 27) -> None:
    """Encode the script as H.264.

    The frame at each whole second is the script's moment; between two of them objects glide.
    `quality` is x264's constant rate factor: lower is better and larger.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        options = {"crf": str(quality), "preset": "slow"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width = stream.height = side_px
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        for pixels in frames(script, fps, side_px):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def frames(script: Script, fps: int, side_px: int) -> Iterator[UInt8[np.ndarray, "side side 3"]]:
    """The frames of the video, `fps` for each moment."""
    renderer = Renderer(side_px)
    following = (*script.moments[1:], script.moments[-1])
    for now, after in zip(script.moments, following, strict=True):
        for step in range(fps):
            yield renderer.frame(glide(now, after, step / fps))


def glide(now: Moment, after: Moment, part: float) -> Moment:
    """`now` with each object that stays moved `part` of its way; all else changes at once."""
    items = []
    for item in now.items:
        then = after.find(item.name)
        if then is None or then.track != item.track:
            then = item
        x, y = item.x + part * (then.x - item.x), item.y + part * (then.y - item.y)
        items.append(replace(item, x=x, y=y))
    return replace(now, items=tuple(items))
