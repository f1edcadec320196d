"""Video: a script's moments as frames or an mp4 file, at any frame rate."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from jaxtyping import UInt8

from eval.stream_world.moment import Moment
from eval.stream_world.renderer import Renderer
from eval.stream_world.script import Script


def write_video(path: Path, script: Script, fps: int, side_px: int, quality: int = 27) -> None:
    """Write H.264. Each whole second shows the script's moment; in between, objects glide.
    `quality` is x264's constant rate factor: lower is better and larger.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        options = {"crf": str(quality), "preset": "slow"}
        stream = add_h264(container, fps, side_px, options)
        for pixels in frames(script.moments, fps, side_px):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def add_h264(
    container: OutputContainer, fps: int, side_px: int, options: dict[str, str]
) -> VideoStream:
    """Add a track for square pictures; `options` are x264's."""
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.width = stream.height = side_px
    stream.pix_fmt = "yuv420p"
    stream.time_base = Fraction(1, fps)
    return stream


def frames(
    moments: Iterable[Moment], fps: int, side_px: int
) -> Iterator[UInt8[np.ndarray, "side side 3"]]:
    """Yield the frames of the video, `fps` for each moment; `moments` may be endless."""
    renderer, coming = Renderer(side_px), iter(moments)
    now = next(coming, None)
    while now is not None:
        after = next(coming, None)
        for step in range(fps):
            yield renderer.frame(glide(now, after or now, step / fps))
        now = after


def glide(now: Moment, after: Moment, part: float) -> Moment:
    """Return `now` with each object that stays moved `part` of its way; all else jumps."""
    items = []
    for item in now.items:
        then = after.find(item.name)
        if then is None or then.track != item.track:
            then = item
        x, y = item.x + part * (then.x - item.x), item.y + part * (then.y - item.y)
        items.append(replace(item, x=x, y=y))
    return replace(now, items=tuple(items))
