"""A looping video of one thing that moves about a room: its name in, an mp4 or JPEGs out."""

import io

import av
from PIL import Image

from eval.stream_world.moment import Backdrop, Item, Kind, Moment
from eval.stream_world.renderer import Renderer
from eval.stream_world.video import add_h264

FPS = 4
SIDE_PX = 384


def write_thing_video(path, name, seconds=12):
    """With a key frame each second, as cameras send it."""
    with av.open(str(path), "w") as container:
        options = {"crf": "23", "preset": "veryfast", "tune": "zerolatency", "g": str(FPS)}
        stream = add_h264(container, FPS, SIDE_PX, options)
        for picture in thing_pictures(name, seconds * FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def thing_jpeg(name, part=0.5):
    """One picture of it, on `part` of its way."""
    (picture,) = thing_pictures(name, 1, part)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def thing_pictures(name, count, start=0.0):
    """It goes from the left to the right once."""
    renderer = Renderer(SIDE_PX)
    backdrop = Backdrop("room", variant=1, left_px=8, top_px=8, is_flipped=False)
    for number in range(count):
        item = Item(
            track=1,
            name=name,
            kind=Kind.EMOJI,
            style="noto",
            x=0.25 + 0.5 * (start + number / count),
            y=0.5,
            size=0.4,
            rotation=0.0,
            is_flipped=False,
        )
        yield renderer.frame(Moment(number // FPS, backdrop, (item,)))
